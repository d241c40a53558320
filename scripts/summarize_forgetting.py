"""Where the responses of lab students go wrong after training, from `esr reproduce scale=mixture`.

    python scripts/summarize_forgetting.py [runs/reproduce-mixture] [--record FILE]

Of each student before training, and at the last step of each condition: the share of responses that
announce the careful strategy, and the share of these that are right. Of careful responses that are
wrong, where the first wrong operation stands: within the first 32 tokens (a and b); at c, whose
result is token 33, or d, the first operation past them; later; or nowhere, and the answer alone is
wrong.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from results import markdown, summarize

from esr_cli.base.files import read_rows
from esr_cli.report.book import Book
from esr_cli.tasks.lab import CAREFUL, apply

CONDITIONS = ("esr", "mixture", "full", "full_22_steps")
START = re.compile(r"start (\d+)")
ASKED = re.compile(r"(\w) ([-+*]) (\d+) ;")
STATED = re.compile(r"(\w) : (\d+) ([-+*]) (\d+) = (\d+) ;")
MODULUS = 7
# The last operation of each place, by number.
PLACES = {"a or b": 2, "c or d": 4, "later": 12}
COLUMNS = (
    "careful, %", "right of these, %",
    *(f"first error at {place}, %" if place != "later" else "later, %" for place in PLACES),
    "in the answer alone, %",
)  # fmt: skip


def first_error(prompt: str, response: str) -> int | None:
    """The number of the first wrong operation, from 1; None if there is none."""
    found, stated = START.search(prompt), STATED.findall(response)
    assert found, prompt
    value = int(found[1])
    for number, (letter, sign, operand) in enumerate(ASKED.findall(prompt), 1):
        before, value = value, apply(sign, value, int(operand), MODULUS)
        right = (letter, str(before), sign, operand, str(value))
        if stated[number - 1 : number] != [right]:
            return number
    return None


def of_student(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Counts of one student's responses: all, the careful ones, and what became of these."""
    counts = Counter(dict.fromkeys(("responses", "careful", "right", *PLACES, "answer"), 0))
    for row in rows:
        for response, correct in zip(row["responses"], row["correct"], strict=True):
            counts["responses"] += 1
            if response.startswith(CAREFUL.strip()):
                counts["careful"] += 1
                error = None if correct else first_error(row["prompt"], response)
                counts["right" if correct else _place(error)] += 1
    return dict(counts)


def _place(number: int | None) -> str:
    if number is None:
        return "answer"
    return next(place for place, last in PLACES.items() if number <= last)


def _rows(out: Path, condition: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The graded responses of the last step of each student, or of the first (`before`)."""
    folder = out / "runs" / ("esr" if condition == "before" else condition)
    for student in sorted(folder.glob("student_*")):
        [path] = student.rglob("generations.jsonl")
        rows = read_rows(path)
        steps = [row["step"] for row in rows]
        step = min(steps) if condition == "before" else max(steps)
        yield student.name, [row for row in rows if row["step"] == step]


def figures(out: Path, asked: dict[str, Any], book: Book) -> dict[str, Any]:
    """The counts of every student by condition, and the shares of all students together."""
    counts = {
        name: {student: of_student(rows) for student, rows in _rows(out, name)}
        for name in ("before", *CONDITIONS)
    }
    together = {
        name: _shares(sum(map(Counter, each.values()), Counter())) for name, each in counts.items()
    }
    return {"together": together, "conditions": counts}


def tables(written: dict[str, Any]) -> list[str]:
    """All students of a condition together; then every student after ESR."""
    together = ([name, *map(_told, each)] for name, each in written["together"].items())
    students = written["conditions"]["esr"]
    esr = ([name, *map(_told, _shares(Counter(each)))] for name, each in students.items())
    return [markdown(("condition", *COLUMNS), together), markdown(("student", *COLUMNS), esr)]


def _shares(counts: Counter[str]) -> list[float | None]:
    """The figures of `COLUMNS`, in percent."""
    careful, places = counts["careful"], [counts[name] for name in (*PLACES, "answer")]
    pairs = [(careful, counts["responses"]), (counts["right"], careful)]
    pairs += [(count, sum(places)) for count in places]
    return [round(100 * count / whole, 1) if whole else None for count, whole in pairs]


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    summarize(str(__doc__), "mixture", figures, tables)
