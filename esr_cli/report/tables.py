"""Tables in the paper's layout: its rows, with our corresponding rows below them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from esr_cli.report.conditions import Condition, ranks
from esr_cli.report.number import Number

PAPER, LAST, OURS = "paper", "ours, last", "ours"
# Chosen on the questions that it is scored on, as the paper does; and on the other half of them.
BEST, HELD_OUT = "ours, best (flattering)", "ours, best (held out)"
ROLES = {"student": "student, untrained", "teacher": "teacher", "full": "full rollouts"}


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, then text in small type; or `links` as pairs of name and target."""

    text: str = "–"
    small: str = ""
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Row:
    """A table row. `group` is the heading of the rows that share it. `whose` is PAPER, LAST,
    HELD_OUT, BEST, OURS or empty.
    """

    label: str
    cells: tuple[Cell, ...]
    whose: str = ""
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table. `columns` are the headings of the cells, without that of the label."""

    id: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    source: str = ""
    note: str = ""


Spec = dict[str, Any]


def paper_row(label: str, values: Sequence[float | None], count: int, form: str = "{:.2f}") -> Row:
    """A row of the paper's figures, padded with dashes to `count` cells."""
    cells = [
        Cell() if value is None else Cell((form if value < 1000 else "{:,.0f}").format(value))
        for value in values
    ]
    return Row(label, tuple(cells + [Cell()] * (count - len(cells))), PAPER)


def cell(number: Number | None, form: str = "{:.1f}", by: float = 100.0) -> Cell:
    """A number with its interval, multiplied by `by`: in per cent by default."""
    if number is None:
        return Cell()
    if by == 100:
        number = number.within(0, 1)
    value, low, high = (form.format(by * each) for each in (number.value, number.low, number.high))
    has_interval = low != high and math.isfinite(number.high - number.low)
    return Cell(value, f"[{low}, {high}]" if has_interval else "")


def filled(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows that have a non-empty cell."""
    return tuple(row for row in rows if any(each != Cell() for each in row.cells))


def has_ours(rows: Sequence[Row]) -> bool:
    """Whether any non-empty row is ours."""
    return any(row.whose != PAPER for row in filled(rows))


def table_with_ours(columns: Sequence[Any], rows: Sequence[Row]) -> Table | None:
    """A table without title of the non-empty rows, or None if none of them is ours."""
    titles = tuple(map(str, columns))
    return Table("", "", titles, filled(rows)) if has_ours(rows) else None


def without_empty_columns(columns: Sequence[str], rows: Sequence[Row]) -> Table:
    """A table without title that keeps the columns with a non-empty cell."""
    kept = [i for i in range(len(columns)) if any(row.cells[i] != Cell() for row in rows)]
    cut = [Row(row.label, tuple(row.cells[i] for i in kept), row.whose, row.group) for row in rows]
    return Table("", "", tuple(columns[i] for i in kept), tuple(cut))


def key_of(condition: Condition) -> str:
    """The key of a condition in results.yaml, or its label if it has no key."""
    if condition.kind == "esr":
        return f"esr_{condition.tokens}"
    if condition.kind == "growing":
        return "growing"
    if condition.kind == "selector" and condition.config["loss"]["select"] == "top":
        return f"top_{condition.keep}_{condition.by}"
    return "full" if condition.kind == "full" else condition.label


def name_of(key: str) -> str:
    """The name of a key of results.yaml in words. After a comma it names one of several runs."""
    key, comma, run = key.partition(",")
    return _name_of(key) + comma + run


def _name_of(key: str) -> str:
    if found := re.fullmatch(r"esr_(\d+)", key):
        return f"ESR N={found[1]}"
    if found := re.fullmatch(r"top_(\d+)_(.+)", key):
        return f"top {found[1]} {ranks(found[2].split('+'))}"
    return ROLES.get(key, key.replace("_", " "))


def thinned(values: Sequence[int], most: int = 8) -> list[int]:
    """At most `most` distinct values in order, evenly spaced, with the first and the last."""
    ordered = sorted(set(values))
    if len(ordered) <= most:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (most - 1))] for i in range(most)]
