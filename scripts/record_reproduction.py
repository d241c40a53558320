"""The figures of a reproduction in one file, and the tables that the pages have of them.

    python scripts/record_reproduction.py [runs/reproduce-lab] [--record FILE]

The file has every verdict, the accuracies of every condition by student or seed, the seconds of
every cell (of its last attempt, two at a time in the lab), versions and machine. The tables: how
often each verdict was given; a line a claim; all verdicts; the sweep over N; a line a condition;
and every student's last accuracy.
"""

from __future__ import annotations

import re
from collections import Counter
from statistics import median
from typing import Any

from results import by_unit, markdown, summarize

from esr_cli.report import numbers
from esr_cli.report.book import Book, Group
from esr_cli.report.claims import judge
from esr_cli.report.conditions import Condition
from esr_cli.report.verdicts import VERDICTS

MOMENTS = ("before", "last", "best", "held_out")
JUDGED = ("id", "statement", "what", "paper", "ours", "rule", "could", "verdict")
HEADS = ("claim", "paper", "ours", "required", "could show", "verdict")
COLUMNS = (
    "condition", "of", "before, %", "last, %", "best, held out, %", "worst last, %", "s a step",
    "tokens a step",
)  # fmt: skip
CLAIM_HEADS = ("claim", "paper", "verdicts here")
SWEEP_HEADS = ("N", "before, %", "last, %", "worst last, %", "best, held out, %", "tokens a step")
SWEEP = re.compile(r"ESR N=(\d+)|(full) rollouts")


def figures(book: Book) -> dict[str, Any]:
    """The verdicts and the conditions."""
    conditions = {
        f"{group.name}: {each.label}": _condition(each, group)
        for group in book.groups for each in group.conditions if each.done
    }  # fmt: skip
    verdicts = [{key: getattr(each, key) for key in JUDGED} for each in judge(book)]
    return {"verdicts": verdicts, "conditions": conditions}


def _condition(condition: Condition, group: Group) -> dict[str, Any]:
    # A timing evaluates one question.
    moments = () if condition.timed else MOMENTS
    found = {at: numbers.accuracy(condition, group.benchmark, at) for at in moments}
    in_percent = {at: by_unit(each.scaled(100) if each else None, 1) for at, each in found.items()}
    steps = [median(column) for run in condition.done if (column := run.column("time/step_s"))]
    return {
        "unit": condition.unit, "units": len(condition.units), **in_percent,
        "seconds a step": [round(each, 3) for each in steps],
        "tokens a step": numbers.tokens_a_step(condition),
    }  # fmt: skip


def tables(written: dict[str, Any]) -> list[str]:
    """All tables, as the page has them."""
    count = Counter(each["verdict"] for each in written["verdicts"])
    verdicts = [
        [f"{each['statement']}" + (f" ({each['what']})" if each["what"] else ""),
         *(each[key] for key in ("paper", "ours", "rule", "could", "verdict"))]
        for each in written["verdicts"]
    ]  # fmt: skip
    graded = {name: each for name, each in written["conditions"].items() if each.get("last")}
    each_last = ([name, _all(each["last"]["each"])] for name, each in graded.items())
    return [
        markdown(VERDICTS, [[str(count[name]) for name in VERDICTS]]),
        markdown(CLAIM_HEADS, _by_claim(written["verdicts"])),
        markdown(HEADS, verdicts),
        *_sweeps(graded),
        markdown(COLUMNS, (_row(name, each) for name, each in graded.items())),
        markdown(("condition", "last, %, of each"), each_last),
    ]


def _by_claim(verdicts: list[dict[str, Any]]) -> list[list[str]]:
    """A line a claim: how often it got each verdict, over pairs and conditions."""
    of_claim: dict[str, Counter[str]] = {}
    for each in verdicts:
        of_claim.setdefault(each["statement"], Counter())[each["verdict"]] += 1
    papers = {each["statement"]: each["paper"] for each in reversed(verdicts)}
    return [
        [claim, papers[claim], ", ".join(f"{name} ({n})" for name, n in count.most_common())]
        for claim, count in of_claim.items()
    ]


def _sweeps(graded: dict[str, dict[str, Any]]) -> list[str]:
    """The table of each pair that has more than two N, beside full rollouts."""
    sweeps: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for name, each in graded.items():
        group, _, label = name.rpartition(": ")
        if found := SWEEP.fullmatch(label):
            sweeps.setdefault(group, []).append((found[1] or found[2], each))
    longest = {group: sorted(rows, key=_length) for group, rows in sweeps.items() if len(rows) > 3}
    return [
        markdown(SWEEP_HEADS, ([n, *_swept(each)] for n, each in rows)) for rows in longest.values()
    ]


def _length(row: tuple[str, dict[str, Any]]) -> float:
    return float("inf") if row[0] == "full" else int(row[0])


def _swept(each: dict[str, Any]) -> list[str]:
    _, _, before, last, held, worst, _, tokens = _row("", each)
    return [before, last, worst, held, tokens]


def _row(name: str, each: dict[str, Any]) -> list[str]:
    spans = (
        "{value:.1f} [{low:.1f}, {high:.1f}]".format(**each[moment]) if each[moment] else "–"
        for moment in ("before", "last", "held_out")
    )
    steps, tokens, last = each["seconds a step"], each["tokens a step"], each["last"]["each"]
    ends = (
        f"{min(last.values()):.1f}" if last else "–",
        f"{median(steps):.2f}" if steps else "–", "–" if tokens is None else f"{tokens:,.0f}",
    )  # fmt: skip
    count, unit = each["units"], each["unit"]
    return [name, f"{count} {unit}{'s' if count > 1 else ''}", *spans, *ends]


def _all(each: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in each.items())


if __name__ == "__main__":
    summarize(
        str(__doc__), "lab", lambda _, asked, book: {"seconds": asked["seconds"], **figures(book)},
        tables,
    )  # fmt: skip
