"""Settings of `esr report`."""

from __future__ import annotations

from dataclasses import dataclass

from esr_cli.config.errors import need


@dataclass
class ReportConfig:
    """`runs` is a run folder, or a folder that is searched recursively for them. `run_dir` is
    the output folder (null: `runs`). `title` is the title of the report.
    """

    runs: str = "runs"
    run_dir: str | None = None
    title: str | None = None

    def __post_init__(self) -> None:
        need(bool(self.runs), "runs", self.runs, "name a folder that holds runs")
