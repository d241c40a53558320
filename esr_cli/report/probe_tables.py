"""The paper's tables that are compared with our probes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.report.book import Book, Group, Probe
from esr_cli.report.tables import (
    OURS,
    Cell,
    Row,
    Spec,
    Table,
    name_of,
    paper_row,
    table_with_ours,
    thinned,
)  # fmt: skip

DECAYS = {
    "continued": "teacher", "control": "teacher after its own k tokens",
    "mirror": "student after k tokens of the teacher",
}  # fmt: skip
CASCADES = {
    "before": "before", "after": "after", "same_text": "after, on the text from before",
}  # fmt: skip
WORDS = {
    "top1_prob": "highest probability", "is_teacher_top1": "the teacher's first",
    "in_teacher_top2_5": "its 2nd to 5th", "outside_teacher_top5": "further down",
}  # fmt: skip


def decay(book: Book, spec: Spec) -> Table | None:
    """Teacher accuracy after the first k tokens of the student, its control and its mirror."""
    found = [(group, probe) for group in book.groups for probe in group.probes("decay")]
    curves = {
        (f"{name}, {group.pair}, {probe.label}", who): _by(
            probe.rows, "at", figure="accuracy", who=who
        )
        for group, probe in found for who, name in DECAYS.items()
    }  # fmt: skip
    ours = thinned([int(at) for by_k in curves.values() for at in by_k])
    columns = sorted({*spec["columns"], *ours})
    rows = []
    for who, name in DECAYS.items():
        known = dict(zip(spec["columns"], spec["rows"].get(who, ()), strict=False))
        rows.append(paper_row(name, [known.get(k) for k in columns], len(columns)))
    for (label, _), by_k in curves.items():
        rows.append(Row(label, tuple(_cell(by_k.get(k), 100) for k in columns), OURS))
    return table_with_ours([f"k={k}" for k in columns], rows)


def cascade(book: Book, spec: Spec) -> Table | None:
    """Mean reverse KL by range of positions."""
    columns = [f"{start}-{end}" for start, end in spec["columns"]]
    rows = [paper_row(who, spec["rows"][who], len(columns)) for who in ("before", "after")]
    for group in book.groups:
        for probe in group.probes("cascade"):
            for who, name in CASCADES.items():
                mean = _by(probe.rows, "at", figure="reverse_kl", who=who)
                count = _by(probe.rows, "at", figure="count", who=who)
                cells = [_weighted(mean, count, start, end) for start, end in spec["columns"]]
                label = f"{name}, {group.pair}, {probe.label}"
                rows.append(Row(label, tuple(_cell(each, 1, 2) for each in cells), OURS))
    return table_with_ours(columns, rows)


def commitment(book: Book, spec: Spec) -> Table | None:
    """The student's first choices at the positions with the highest KL."""
    columns = spec["columns"]
    rows = [paper_row(name_of(key), values, len(columns)) for key, values in spec["rows"].items()]
    for group, probe in _each(book, "commitment"):
        for who in ("before", "after"):
            figures = _by(probe.rows, "figure", who=who)
            cells = tuple(_cell(figures.get(name), 100) for name in columns)
            rows.append(Row(f"{who}, {group.pair}, {probe.label}", cells, OURS))
    return table_with_ours([WORDS[name] for name in columns], rows)


def categories(book: Book, spec: Spec) -> Table | None:
    """Mean KL of the untrained student by category and range, from one probe per group."""
    columns = list(spec["columns"])
    rows = [paper_row(name_of(key), values, len(columns)) for key, values in spec["rows"].items()]
    for group in book.groups:
        for probe in group.probes("categories")[:1]:
            for kind in spec["rows"]:
                means = _by(probe.rows, "range", figure="reverse_kl", who="before", category=kind)
                cells = tuple(_cell(means.get(each), 1, 2) for each in columns)
                rows.append(Row(f"{name_of(kind)}, {group.pair}", cells, OURS))
    return table_with_ours(columns, rows)


def _each(book: Book, name: str) -> Iterable[tuple[Group, Probe]]:
    return ((group, probe) for group in book.groups for probe in group.probes(name))


def _by(rows: Rows, key: str, **wanted: object) -> dict[Any, float]:
    return {
        row[key]: row["value"] for row in rows
        if row.get(key) is not None and row.get("value") is not None
        and all(row.get(name) == value for name, value in wanted.items())
    }  # fmt: skip


def _weighted(mean: dict, count: dict, start: int, end: int) -> float | None:
    inside = [at for at in mean if start < at <= end]
    total = sum(count.get(at, 0) for at in inside)
    return sum(mean[at] * count.get(at, 0) for at in inside) / total if total else None


def _cell(value: float | None, by: float, digits: int = 1) -> Cell:
    return Cell() if value is None else Cell(f"{by * value:.{digits}f}")


SHAPES: dict[str, Callable[[Book, Spec], Table | None]] = {
    "decay": decay, "cascade": cascade, "commitment": commitment, "categories": categories,
}  # fmt: skip
