"""Facts about the runs of a report: their states, versions and machines."""

from __future__ import annotations

import time
from collections import Counter

from esr_cli.runs.record import Run


def facts(runs: tuple[Run, ...], unreadable: int = 0) -> list[tuple[str, str]]:
    """Pairs of name and value, in the order of display."""
    states = Counter(run.state for run in runs)
    summary = ", ".join(f"{states[name]} {name}" for name in ("complete", "unfinished", "failed")
                     if states[name])  # fmt: skip
    if unreadable:
        summary += f", {unreadable} unreadable"
    steps = sum(sum(run.column("time/step_s")) for run in runs)
    seeds = sorted({run.seed for run in runs})
    found = [
        ("Runs", f"{len(runs) + unreadable}: {summary}; seeds {', '.join(map(str, seeds))}"),
        ("Time in steps", f"{duration(steps)}, all runs, without start and evaluation"),
    ]
    for name, key in (("Versions", "versions"), ("Machine", "machine"), ("GPU", "gpu")):
        if values := _starts(runs, key):
            found.append((name, "; ".join(values)))
    return [*found, ("Written", time.strftime("%Y-%m-%d %H:%M"))]


def duration(seconds: float) -> str:
    """Hours and minutes, minutes and seconds, or seconds."""
    if seconds < 120:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    if seconds >= 3600:
        return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _starts(runs: tuple[Run, ...], key: str) -> list[str]:
    """The values that the runs recorded at their starts, most frequent first."""
    counts = Counter(row[key] for run in runs for row in run.starts if row.get(key))
    return [text for text, _ in counts.most_common()]
