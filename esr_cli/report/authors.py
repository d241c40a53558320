"""The later notes of the paper's authors: their tables, and where these differ from the paper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from esr_cli.report.book import Book
from esr_cli.report.tables import PAPER, Cell, Row, Spec, Table, name_of

AUTHORS = "authors, later"
# Pair, tuning, configuration and metric.
Place = tuple[str, str, str, str]


def theirs(table: Table) -> Table:
    """A table of their figures, in which each row names them instead of the paper."""
    rows = (replace(row, whose=AUTHORS) if row.whose == PAPER else row for row in table.rows)
    return replace(table, rows=tuple(rows))


def disagreements(book: Book) -> Table | None:
    """Their figures that differ from the paper's at the same place, for the pairs of the book."""
    printed = {place: value for _, _, place, value in _figures(book.paper["tables"])}
    pairs = {group.pair for group in book.groups}
    rows, known = [], set()
    for spec, key, place, value in _figures(book.authors["tables"]):
        paper = printed.get(place, value)
        # Other seeds, and trainings of other lengths, differ from the paper as they should.
        alike = "," not in key and spec.get("compared", True)
        if alike and place[0] in pairs and value != paper and (place, value) not in known:
            known.add((place, value))
            tuned = "full fine-tuning" if place[1] == "full" else "LoRA"
            cells = (f"{paper:.2f}", f"{value:.2f}", f"{value - paper:+.2f}", spec["title"])
            rows.append(Row(f"{name_of(key)}, {tuned}", tuple(map(Cell, cells)), group=place[0]))
    if not rows:
        return None
    title, note = "Where they differ from the paper", "The settings are stated at each table below."
    columns = ("paper", "later notes", "difference", "their table")
    return Table("disagreements", title, columns, tuple(rows), note=note)


def _figures(tables: dict[str, Spec]) -> Iterator[tuple[Spec, str, Place, float]]:
    """Each figure of the tables of conditions: its table, its row, its place and its value.

    A second run of a configuration, whose row has a name after a comma, has the same place.
    """
    for spec in tables.values():
        for pair, rows in spec["rows"].items() if spec["shape"] == "arms" else ():
            for key, values in rows.items():
                for column, value in zip(spec["columns"], values, strict=False):
                    # The first alternative of a column is the paper's metric; the others are ours.
                    metric = column.split("|")[0]
                    place = (pair, spec.get("tune", "lora"), key.partition(",")[0], metric)
                    if value is not None:
                        yield spec, key, place, value
