"""Settings of `esr report`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from esr_cli.config.errors import need

FORMATS = ("html", "pdf")


@dataclass
class ReportConfig:
    """`runs` is a run folder, or a folder that is searched recursively for them. `run_dir` is
    the output folder (null: `runs`). `title` is the title of the report.

    `format` is what is written: `html` the page with its figures as SVG and PNG, and the same as
    Markdown; `pdf` the figures as PDF, for a paper; `[html,pdf]` both.
    """

    runs: str = "runs"
    run_dir: str | None = None
    title: str | None = None
    format: Any = "html"

    def __post_init__(self) -> None:
        need(bool(self.runs), "runs", self.runs, "name a folder that holds runs")
        known = bool(self.formats) and all(each in FORMATS for each in self.formats)
        need(known, "format", self.format, "give html, pdf, or [html,pdf]")

    @property
    def formats(self) -> list[Any]:
        """`format` as a list."""
        return self.format if isinstance(self.format, list) else [self.format]
