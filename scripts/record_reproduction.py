"""The figures of a reproduction in one small file, and the tables that the pages have of them.

    python scripts/record_reproduction.py [runs/reproduce-lab] [--record FILE]

The file has every verdict, the accuracies of every condition by student or seed, the seconds of
every cell, versions and machine. The tables: all verdicts; for each claim and condition one line of
accuracies; the accuracies of the first students, one by one.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from esr_cli.base.files import read_json
from esr_cli.report import numbers
from esr_cli.report.book import Group, open_book
from esr_cli.report.claims import judge
from esr_cli.report.conditions import Condition
from esr_cli.report.number import Number
from esr_cli.report.verdicts import VERDICTS
from esr_cli.reproduce.command import SETTINGS_FILE

MOMENTS = ("before", "last", "best", "held_out")
JUDGED = ("id", "statement", "what", "paper", "ours", "rule", "could", "verdict")


def figures(out: Path) -> dict[str, Any]:
    """Everything that the file holds."""
    book = open_book(out)
    cells = {path.stem: read_json(path) for path in sorted((out / "cells").glob("*.json"))}
    starts = [row for run in book.runs for row in run.starts]
    scale = read_json(out / SETTINGS_FILE)["scale"]
    return {
        "command": f"esr reproduce scale={scale}; python scripts/record_reproduction.py",
        **{key: sorted({str(row[key]) for row in starts}) for key in ("versions", "machine")},
        "verdicts": [{key: getattr(each, key) for key in JUDGED} for each in judge(book)],
        "conditions": {
            f"{group.pair}: {each.label}": _condition(each, group)
            for group in book.groups for each in group.conditions if each.done
        },
        "seconds": {name: cell["seconds"] for name, cell in cells.items() if "seconds" in cell},
    }  # fmt: skip


def _condition(condition: Condition, group: Group) -> dict[str, Any]:
    accuracies = {} if condition.timed else {
        moment: _plain(numbers.accuracy(condition, group.benchmark, moment)) for moment in MOMENTS
    }  # fmt: skip
    steps = [median(run.column("time/step_s")) for run in condition.done]
    return {
        "unit": condition.unit, "units": [Path(str(unit)).name for unit in condition.units],
        **accuracies, "seconds a step": [round(each, 3) for each in steps],
        "tokens a step": numbers.tokens_a_step(condition),
    }  # fmt: skip


def _plain(found: Number | None) -> dict[str, Any] | None:
    """A share as percent, with the value of each unit."""
    if found is None:
        return None
    low, value, high = (round(100 * each, 1) for each in (found.low, found.value, found.high))
    units = [round(100 * each, 1) for each in found.seeds]
    return {"value": value, "low": low, "high": high, "each": units}


def tables(written: dict[str, Any]) -> list[str]:
    """How often each verdict was given; the verdicts; the conditions; these student by student."""
    count = Counter(each["verdict"] for each in written["verdicts"])
    verdicts = [
        [f"{each['statement']}" + (f" ({each['what']})" if each["what"] else ""),
         *(each[key] for key in ("paper", "ours", "rule", "could", "verdict"))]
        for each in written["verdicts"]
    ]  # fmt: skip
    graded = {name: each for name, each in written["conditions"].items() if each.get("last")}
    return [
        _table(VERDICTS, [[str(count[name]) for name in VERDICTS]]),
        _table(("claim", "paper", "ours", "required", "could show", "verdict"), verdicts),
        _table(("condition", "students or seeds", "before, %", "last, %", "best, held out, %",
                "worst, last, %", "tokens a step"),
               [_row(name, each) for name, each in graded.items()]),
        _table(("condition", "last, %, of each student or seed"),
               [[name, ", ".join(f"{x:g}" for x in each["last"]["each"])]
                for name, each in graded.items()]),
    ]  # fmt: skip


def _row(name: str, each: dict[str, Any]) -> list[str]:
    spans = (
        "{value:.1f} [{low:.1f}, {high:.1f}]".format(**each[moment]) if each[moment] else "–"
        for moment in ("before", "last", "held_out")
    )
    worst = f"{min(each['last']['each']):.1f}"
    return [name, str(len(each["units"])), *spans, worst, f"{each['tokens a step']:,.0f}"]


def _table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Prints the tables; writes the file."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/reproduce-lab"))
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    if not (given.out / SETTINGS_FILE).is_file():
        parser.error(f"{given.out}: holds no runs; esr reproduce makes them")
    written = figures(given.out)
    print("\n\n".join(tables(written)))
    if given.record:
        given.record.parent.mkdir(parents=True, exist_ok=True)
        given.record.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
