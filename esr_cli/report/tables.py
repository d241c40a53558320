"""Tables in the paper's layout: its rows, and ours beneath those that they answer to."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from esr_cli.report.arms import Arm, ranks
from esr_cli.report.numbers import Number

PAPER, LAST, BEST, OURS = "paper", "ours, last", "ours, best", "ours"
ROLES = {"student": "student, untrained", "teacher": "teacher", "full": "full rollouts"}


@dataclass(frozen=True)
class Cell:
    """What stands in a place of a table, and small behind it; or names, and where they lead."""

    text: str = "–"
    small: str = ""
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Row:
    """`group` heads the rows that share it; `whose` is the paper's, ours, or nothing."""

    label: str
    cells: tuple[Cell, ...]
    whose: str = ""
    group: str = ""


@dataclass(frozen=True)
class Table:
    """`columns` head the cells; the label comes before them."""

    id: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    source: str = ""
    note: str = ""


Spec = dict[str, Any]


def paper_row(label: str, values: Sequence[float | None], count: int, form: str = "{:.2f}") -> Row:
    """A row of the paper's figures, filled up with dashes."""
    cells = [
        Cell() if value is None else Cell((form if value < 1000 else "{:,.0f}").format(value))
        for value in values
    ]
    return Row(label, tuple(cells + [Cell()] * (count - len(cells))), PAPER)


def cell(number: Number | None, form: str = "{:.1f}", by: float = 100.0) -> Cell:
    """A number with its interval, in per cent unless told otherwise."""
    if number is None:
        return Cell()
    if by == 100:
        number = number.within(0, 1)
    value, low, high = (form.format(by * each) for each in (number.value, number.low, number.high))
    told = low != high and math.isfinite(number.high - number.low)
    return Cell(value, f"[{low}, {high}]" if told else "")


def filled(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows with anything in them."""
    return tuple(row for row in rows if any(each != Cell() for each in row.cells))


def has_ours(rows: Sequence[Row]) -> bool:
    """Whether any row is not the paper's."""
    return any(row.whose != PAPER for row in filled(rows))


def without_empty_columns(columns: Sequence[str], rows: Sequence[Row]) -> Table:
    """An unnamed table of the columns in which something stands."""
    kept = [i for i in range(len(columns)) if any(row.cells[i] != Cell() for row in rows)]
    cut = [Row(row.label, tuple(row.cells[i] for i in kept), row.whose, row.group) for row in rows]
    return Table("", "", tuple(columns[i] for i in kept), tuple(cut))


def key_of(arm: Arm) -> str:
    """How results.yaml names an arm, where it can."""
    if arm.kind == "esr":
        return f"esr_{arm.tokens}"
    if arm.kind == "growing":
        return "growing"
    if arm.kind == "selector" and arm.config["loss"]["select"] == "top":
        return f"top_{arm.keep}_{arm.by}"
    return "full" if arm.kind == "full" else arm.label


def name_of(key: str) -> str:
    """A key of results.yaml in words."""
    if found := re.fullmatch(r"esr_(\d+)", key):
        return f"ESR N={found[1]}"
    if found := re.fullmatch(r"top_(\d+)_(.+)", key):
        return f"top {found[1]} {ranks(found[2].split('+'))}"
    return ROLES.get(key, key.replace("_", " "))


def thinned(values: Sequence[int], most: int = 8) -> list[int]:
    """At most so many of them, evenly, with the first and the last."""
    ordered = sorted(set(values))
    if len(ordered) <= most:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (most - 1))] for i in range(most)]
