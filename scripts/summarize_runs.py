"""A table of finished runs, a line a condition, with the values of its seeds or students.

    python scripts/summarize_runs.py RUNS [--record FILE --command TEXT]

Accuracy in percent at the first and at the last evaluation; median seconds of a step by phase; the
largest difference of the engine's and the trainer's log-probabilities; the share of positions that
are compared, with unlike tokenizers. RUNS is searched like that of `esr report`. TEXT, which stands
in the file, is the command that made the runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean, median
from typing import Any

from results import book_of, markdown, sources, write

from esr_cli.report.book import Book
from esr_cli.report.conditions import Condition
from esr_cli.runs.record import Run

PHASES = ("sync", "generate", "score", "train", "step")
COLUMNS = ("of each", "before, %", "last, %", f"s: {' / '.join(PHASES)}", "largest gap")
COMPARED = "positions compared, %"


def conditions(book: Book) -> dict[str, dict[str, Any]]:
    """The figures of every condition with a complete run, by pair, task and label."""
    done = [(group, each) for group in book.groups for each in group.conditions if each.done]
    return {f"{group.name}: {each.label}": summary(each) for group, each in done}


def summary(condition: Condition) -> dict[str, Any]:
    """The figures of one condition; lists are in the order of its runs, which `of each` names."""
    runs = condition.done
    seconds = {phase: [_median(run.column(f"time/{phase}_s")) for run in runs] for phase in PHASES}
    gaps = [gap for run in runs for gap in run.column("rollout/logprob_gap_max")]
    compared = [share for run in runs for share in run.column("align/coverage")]
    timed = condition.timed  # then one question was evaluated
    return {
        "of each": [condition.name_of(run) for run in runs],
        "before": [None if timed else _accuracy(run, 0) for run in runs],
        "last": [None if timed else _accuracy(run, -1) for run in runs],
        "seconds": {phase: round(_median(each), 4) for phase, each in seconds.items()},
        "gap": max(gaps) if gaps else None,
        "compared": round(100 * fmean(compared), 1) if compared else None,
    }  # fmt: skip


def _median(values: list[float]) -> float:
    return median(values) if values else 0.0


def _accuracy(run: Run, at: int) -> float | None:
    steps = run.steps(run.benchmark)
    row = run.row(run.benchmark, "avg@", steps[at]) if steps else None
    return round(100 * row["value"], 1) if row else None


def tables(written: dict[str, Any]) -> list[str]:
    """The conditions as one Markdown table."""
    found = written["conditions"]
    compared = any(figures["compared"] is not None for figures in found.values())
    rows = []
    for name, figures in found.items():
        cells = [", ".join(figures["of each"]), *(_listed(figures[k]) for k in ("before", "last"))]
        cells.append(" / ".join(f"{figures['seconds'][phase]:.2f}" for phase in PHASES))
        cells.append("–" if figures["gap"] is None else f"{figures['gap']:.0e}")
        cells += [_listed([figures["compared"]])] if compared else []
        rows.append([name, *cells])
    return [markdown(["condition", *COLUMNS, *([COMPARED] if compared else [])], rows)]


def _listed(values: list[float | None]) -> str:
    return ", ".join("–" if each is None else f"{each:g}" for each in values)


def main() -> None:
    """Prints the table; records the figures as JSON."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--command", default="")
    given = parser.parse_args()
    if given.record and not given.command:
        parser.error("--record needs --command TEXT: what made the runs")
    book = book_of(parser, given.runs)
    command = f"{given.command}; python scripts/summarize_runs.py RUNS"
    written = {"command": command, **sources(book.runs), "conditions": conditions(book)}
    print("\n".join(tables(written)))
    if given.record:
        write(given.record, written)


if __name__ == "__main__":
    main()
