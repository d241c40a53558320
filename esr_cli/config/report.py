"""What `esr report` reads, and where it writes."""

from __future__ import annotations

from dataclasses import dataclass

from esr_cli.config.errors import need


@dataclass
class ReportConfig:
    """`runs` is a folder with run folders somewhere below it, or one run's folder; `out` is where
    the report goes (null: `runs` itself); `title` stands on top of it.
    """

    runs: str = "runs"
    out: str | None = None
    title: str | None = None

    def __post_init__(self) -> None:
        need(bool(self.runs), "runs", self.runs, "name a folder that holds runs")
