"""What the scripts that fill docs/results share: tables, where figures are from, and the file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from esr_cli.base.files import read_json
from esr_cli.config import ConfigError
from esr_cli.report.book import Book, open_book
from esr_cli.report.conditions import Condition, gather
from esr_cli.report.number import Number
from esr_cli.reproduce.command import SETTINGS_FILE
from esr_cli.runs import record
from esr_cli.runs.record import Run

Figures = dict[str, Any]


def summarize(
    doc: str,
    scale: str,
    figures: Callable[[Path, Figures, Book], Figures],
    tables: Callable[[Figures], list[str]],
    draw: Callable[[Figures, Path], None] | None = None,
) -> None:
    """The command line of a script: prints the tables of a reproduction, records its figures.

    `figures` gets the folder, what `finished` knows of it, and its runs.
    """
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path(f"runs/reproduce-{scale}"))
    parser.add_argument("--record", type=Path)
    if draw:
        parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    asked = finished(parser, given.out, whole=bool(given.record))
    book = book_of(parser, given.out)
    command = f"{asked['command']}; python scripts/{Path(sys.argv[0]).name} OUT"
    written = {"command": command, **sources(book.runs), **figures(given.out, asked, book)}
    print("\n\n".join(tables(written)))
    if given.record:
        write(given.record, written)
    if draw and given.figure:
        draw(written, given.figure)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(line)} |" for line in [heads, *rows]]
    return "\n".join([lines[0], f"|{'---|' * len(heads)}", *lines[1:]])


def book_of(parser: argparse.ArgumentParser, folder: Path) -> Book:
    """All runs below a folder; ends the script with one line if there is none, or a broken one."""
    if not folder.is_dir():
        parser.error(f"{folder}: no such folder; name one that holds runs")
    try:
        book = open_book(folder)
    except ConfigError as error:
        parser.error(str(error))
    for place, reason in book.unreadable.items():
        parser.error(f"{place}: unreadable ({reason}); mend or remove it")
    if not any(run.state == "complete" for run in book.runs):
        parser.error(f"{folder}: holds no complete run; esr train or esr reproduce makes them")
    return book


def finished(parser: argparse.ArgumentParser, out: Path, whole: bool) -> Figures:
    """The scale and command of a reproduction, and its cells' seconds (the last attempt of each).

    Ends the script if `out` is none, or if it is not complete and must be `whole`.
    """
    if not (out / SETTINGS_FILE).is_file():
        parser.error(f"{out}: is no reproduction; esr reproduce makes one")
    asked = read_json(out / SETTINGS_FILE)
    cells = {path.stem: read_json(path) for path in sorted((out / "cells").glob("*.json"))}
    complete = {name: cell for name, cell in cells.items() if cell["state"] == "complete"}
    wanted = asked.get("cells", len(cells))
    if whole and len(complete) < wanted:
        parser.error(f"{out}: {len(complete)} of {wanted} cells are complete; run it to its end")
    command = asked.get("command", f"esr reproduce scale={asked['scale']}")
    return {
        "scale": asked["scale"],
        "command": command,
        "seconds": {name: each["seconds"] for name, each in complete.items()},
    }


def conditions(out: Path) -> dict[str, Condition]:
    """The complete conditions by the names of their cells."""
    found = {}
    for cell in sorted((out / "runs").iterdir()):
        gathered = [
            each for each in gather(list(map(record.read, record.places(cell)))) if each.units
        ]
        if len(gathered) > 1:
            raise SystemExit(f"{cell}: holds runs of several settings; name a folder of one matrix")
        if gathered:
            [found[cell.name]] = gathered
    return found


def sources(runs: Iterable[Run]) -> dict[str, list[str]]:
    """The versions, machines and GPUs that the runs recorded at their starts."""
    starts = [row for run in runs for row in run.starts]
    keys = ("versions", "machine", "gpu")
    return {key: sorted({str(row[key]) for row in starts if row.get(key)}) for key in keys}


def by_unit(found: Number | None, digits: int = 5) -> dict[str, Any] | None:
    """A number with its interval and the value of each student or seed by name."""
    if found is None:
        return None
    ends = {"value": found.value, "low": found.low, "high": found.high}
    names = [Path(str(unit)).name for unit in found.units]
    each = dict(zip(names, found.seeds, strict=True)) if names else {}
    return {key: round(value, digits) for key, value in ends.items()} | {
        "each": {name: round(value, digits) for name, value in each.items()}
    }


def write(path: Path, written: dict[str, Any]) -> None:
    """Writes a file of docs/results: a line for each of its parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_lines(written) + "\n")


def _lines(tree: Any, depth: int = 0) -> str:
    if depth == 2 or not isinstance(tree, dict) or not tree:
        return json.dumps(tree)
    pad = " " * (depth + 1)
    parts = (f"{pad}{json.dumps(key)}: {_lines(value, depth + 1)}" for key, value in tree.items())
    return "{\n" + ",\n".join(parts) + f"\n{' ' * depth}}}"
