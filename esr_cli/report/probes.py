"""Every probe that was found: its figure, a small table, and how to read it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.report.book import Book, Probe
from esr_cli.report.tables import Cell, Row, Table

READ = {
    "decay": ("Teacher decay", "The teacher goes on from the first k tokens of the student's "
              "responses: a curve that falls means that it judges late positions worse."),
    "profile": ("Reverse KL and entropies by position", "Where the reverse KL lies before the "
                "marked N, a rollout of N tokens sees most of what there is to learn."),
    "cascade": ("Cascading alignment", "Where the line after training lies below the one before it "
                "to the right of N, positions were aligned that no loss was taken at."),
    "commitment": ("Commitment to one mode", "At the positions with the highest KL before "
                   "training: how sure the student is, and how high the teacher ranks what it "
                   "would say."),
    "categories": ("Kinds of tokens", "Which tokens the reverse KL lies on, by their position."),
    "stability": ("Stability", "How far accuracy falls after its peak, and whether responses come "
                  "to repeat themselves or to hold several boxes."),
    "samples": ("Samples", "Prompts with the responses of student and teacher, token by token."),
}  # fmt: skip
MOST_ROWS = 24
EXTRA = ("who", "benchmark", "region", "category", "range", "token", "step")


@dataclass(frozen=True)
class View:
    """One probe of one run as the page shows it; `svg` or `link` may be missing."""

    name: str
    title: str
    sentence: str
    label: str
    svg: Path | None
    says: str
    table: Table | None
    link: str


def views(book: Book, out: Path) -> list[View]:
    """All of them, by name and then by run."""
    names = dict.fromkeys([*READ, *(n for run in book.runs for n in run.probes),
                           *(p.name for group in book.groups for p in group.loose)])  # fmt: skip
    found = [probe for name in names for group in book.groups for probe in group.probes(name)]
    return [_view(probe, out) for probe in found]


def _view(probe: Probe, out: Path) -> View:
    title, sentence = READ.get(probe.name, (probe.name, ""))
    svg, page = probe.folder / f"{probe.name}.svg", probe.folder / f"{probe.name}.html"
    table = None if probe.name == "samples" else small(probe.rows)
    told = (
        ""
        if table is None
        else "; ".join(
            f"{row.label} {row.cells[0].text} {row.cells[0].small}".strip()
            for row in table.rows[:6]
        )
    )
    return View(
        probe.name, title, sentence, probe.label, svg if svg.is_file() else None,
        f"{title}, {probe.label}. {told}".strip(), table,
        os.path.relpath(page, out) if page.is_file() else "",
    )  # fmt: skip


def small(rows: Rows) -> Table | None:
    """The figures that are no curve, the first of them."""
    plain = [row for row in rows if row.get("at") is None
             and None not in (row.get("figure"), row.get("value"))]  # fmt: skip
    if not plain:
        return None
    told = tuple(
        Row(
            _label(row), (Cell(_figure(row["value"]), _interval(row)), Cell(str(row.get("n", "–"))))
        )
        for row in plain[:MOST_ROWS]
    )
    note = f"{len(plain) - MOST_ROWS} more in the file" if len(plain) > MOST_ROWS else ""
    return Table("", "", ("value", "n"), told, note=note)


def _label(row: dict[str, Any]) -> str:
    told = [str(row[key]).replace("_", " ").strip() for key in EXTRA if row.get(key) is not None]
    return ", ".join([str(row["figure"]).replace("_", " "), *told])


def _interval(row: dict[str, Any]) -> str:
    if row.get("low") is None or row.get("high") is None:
        return ""
    like = row["value"]
    return f"[{_figure(row['low'], like)}, {_figure(row['high'], like)}]"


def _figure(value: float, like: float | None = None) -> str:
    """With as many digits as `like` needs."""
    size = abs(value if like is None else like)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.3f}"
