"""What came of the runs of a sweep: a line for each, and a table."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from rich.table import Table

COMPLETE, COMPLETE_BEFORE, FAILED = "complete", "complete before", "failed"
# The end of a dry run, whose log is what it is for.
WOULD_START = "would start"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run of a sweep.

    `asked` are its overrides, `log` is the path of its log, `reason` is the cause of a failure.
    `before` and `after` are accuracies.
    """

    number: int
    asked: list[str]
    state: str
    log: str
    folder: str = ""
    before: float | None = None
    after: float | None = None
    seconds: float | None = None
    reason: str = ""


def name(run: Outcome, varied: Container[str]) -> str:
    """The settings that tell a run from the others: those whose keys are `varied`."""
    return " ".join([text for text in run.asked if text.split("=")[0] in varied] or run.asked)


def line(run: Outcome, varied: Container[str], total: int) -> str:
    """The line of a run that has ended; `total` is 0 if the number of runs is unknown."""
    place = f"[{run.number + 1}/{total}]" if total else f"[{run.number + 1}]"
    parts = [place, name(run, varied), _accuracy(run), _time(run), _state(run)]
    return "  ".join(part for part in parts if part)


def table(title: str, outcomes: Sequence[Outcome], varied: Container[str]) -> Table:
    """The table of all runs."""
    shown = Table(title=title, title_justify="left")
    for heading in ("run", "before", "after", "seconds", "state"):
        shown.add_column(heading, overflow="fold")
    for each in outcomes:
        numbers = (each.before, each.after)
        cells = ["" if value is None else f"{value:.3f}" for value in numbers]
        shown.add_row(name(each, varied), *cells, _time(each).removesuffix(" s"), _state(each))
    return shown


def _state(run: Outcome) -> str:
    return f"{run.state}: {run.reason}" if run.reason else run.state


def _accuracy(run: Outcome) -> str:
    if run.after is None:
        return ""
    return f"{run.before:.3f} -> {run.after:.3f}" if run.before is not None else f"{run.after:.3f}"


def _time(run: Outcome) -> str:
    return "" if run.seconds is None else f"{run.seconds:.0f} s"
