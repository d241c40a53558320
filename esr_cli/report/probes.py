"""The probes section: each probe's figure, a small table, and how to read it."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.plots import probes as plots
from esr_cli.report.book import Book, Probe
from esr_cli.report.tables import Cell, Row, Table

DESCRIPTIONS = {
    "decay": ("Teacher decay", "The teacher continues from the first k tokens of the student's "
              "responses. A falling curve, where the one after its own tokens does not fall, means "
              "that it judges late positions worse."),
    "profile": ("Reverse KL and entropies by position", "If most of the reverse KL lies before the "
                "marked N, a rollout of N tokens covers most of what can be learned."),
    "cascade": ("Cascading alignment", "If the line after training lies below the line before it "
                "to the right of N, positions were aligned at which no loss was taken. The dotted "
                "line is the trained student on the text of the untrained one."),
    "commitment": ("Commitment to one mode", "At the positions with the highest KL before "
                   "training: how sure the student is, and how high the teacher ranks its "
                   "first choice."),
    "categories": ("Kinds of tokens", "The tokens that carry the reverse KL, by their position."),
    "stability": ("Stability", "How far accuracy falls after its peak, and whether responses begin "
                  "to repeat themselves or to contain several boxes."),
    "samples": ("Samples", "Prompts with the responses of student and teacher, token by token."),
}  # fmt: skip
MOST_ROWS = 24
EXTRA = ("who", "benchmark", "region", "category", "range", "token", "step")


@dataclass(frozen=True)
class View:
    """One probe of one run as shown on the page. `svg` is None or `link` empty if there is none.

    Both are drawn for the report from the rows: figures and pages in a run folder from elsewhere
    may hold scripts.
    """

    name: str
    title: str
    sentence: str
    label: str
    svg: Path | None
    alt_text: str
    table: Table | None
    link: str


def views(book: Book, out: Path, kinds: tuple[str, ...] = ("svg",)) -> list[View]:
    """Views of all probes, sorted by name and then by run; their figures as files of `kinds`."""
    names = dict.fromkeys([*DESCRIPTIONS, *(n for run in book.runs for n in run.probes),
                           *(p.name for group in book.groups for p in group.loose)])  # fmt: skip
    found = [probe for name in names for group in book.groups for probe in group.probes(name)]
    folder = out / "figures"
    return [_view(probe, out, folder / f"probe-{at}", kinds) for at, probe in enumerate(found)]


def _view(probe: Probe, out: Path, folder: Path, kinds: tuple[str, ...]) -> View:
    title, sentence = DESCRIPTIONS.get(probe.name, (probe.name, ""))
    drawn = _draw(probe, folder, kinds)
    page = probe.name == "samples"
    table = None if page else small(probe.rows)
    values = (
        ""
        if table is None
        else "; ".join(
            f"{row.label} {row.cells[0].text} {row.cells[0].small}".strip()
            for row in table.rows[:6]
        )
    )
    return View(
        probe.name, title, sentence, probe.label, drawn if drawn and not page else None,
        f"{title}, {probe.label}. {values}".strip(), table,
        os.path.relpath(drawn, out) if drawn and page else "",
    )  # fmt: skip


def _draw(probe: Probe, folder: Path, kinds: tuple[str, ...]) -> Path | None:
    """The figure of a probe, or the page of its samples; None if its rows do not suffice."""
    if probe.name not in DESCRIPTIONS:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the size of foreign labels
            plots.draw(probe.name, probe.rows, folder, probe.label, kinds=kinds)
    # The rows are those of a stranger, and each painter needs others.
    except Exception:
        return None
    return folder / ("samples.html" if probe.name == "samples" else f"{probe.name}.svg")


def small(rows: Rows) -> Table | None:
    """A table of the first figures that are single values rather than curves."""
    plain = [row for row in rows if row.get("at") is None
             and None not in (row.get("figure"), row.get("value"))]  # fmt: skip
    if not plain:
        return None
    shown = tuple(
        Row(
            _label(row), (Cell(_figure(row["value"]), _interval(row)), Cell(str(row.get("n", "–"))))
        )
        for row in plain[:MOST_ROWS]
    )
    note = f"{len(plain) - MOST_ROWS} more in the file" if len(plain) > MOST_ROWS else ""
    return Table("", "", ("value", "n"), shown, note=note)


def _label(row: dict[str, Any]) -> str:
    words = [str(row[key]).replace("_", " ").strip() for key in EXTRA if row.get(key) is not None]
    if row.get("first") is not None:
        words.append(f"first {row['first']}")
    return ", ".join([str(row["figure"]).replace("_", " "), *words])


def _interval(row: dict[str, Any]) -> str:
    if row.get("low") is None or row.get("high") is None:
        return ""
    like = row["value"]
    return f"[{_figure(row['low'], like)}, {_figure(row['high'], like)}]"


def _figure(value: float, like: float | None = None) -> str:
    """Formats `value` with the digits that suit the size of `like`, by default `value` itself."""
    size = abs(value if like is None else like)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.3f}"
