"""The figures of probes in one file, without the curves over positions.

    python scripts/summarize_probes.py PROBES [PROBES ...] --record FILE --command TEXT

PROBES is a folder with the rows of `esr probe`. A figure is [value, low, high] below the folder's
and the probe's name, named by what tells it from others: the figure, who, the k of decay, the kind
and place of a token, the text that a prefix holds. TEXT is the command that made the folders.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from results import write

from esr_cli.base.files import read_rows

# Rows of other shapes (texts), and curves with a row for each position.
LEFT_OUT = ("samples", "stability")
BY_POSITION = ("profile", "cascade")


def figures(folder: Path) -> dict[str, dict[str, list[float | None]]]:
    """The figures of each probe in a folder."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem not in LEFT_OUT:
            rows = [row for row in read_rows(path) if "figure" in row]
            curves = path.stem in BY_POSITION
            kept = [row for row in rows if not (curves and "at" in row)]
            found[path.stem] = {_name(row): _span(row) for row in kept}
            assert len(found[path.stem]) == len(kept), f"{path}: two figures have one name"
    return found


def _name(row: dict[str, Any]) -> str:
    told = (str(row[key]) for key in row if key == "at" or isinstance(row[key], str))
    return " ".join(part.strip() for part in told)


def _span(row: dict[str, Any]) -> list[float | None]:
    return [row.get(key) for key in ("value", "low", "high")]


def main() -> None:
    """Prints the figures, or writes the file."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("probes", type=Path, nargs="+")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--command", default="esr probe …")
    given = parser.parse_args()
    written: dict[str, Any] = {"command": given.command}
    for folder in given.probes:
        found = figures(folder) if folder.is_dir() else {}
        if not found:
            parser.error(f"{folder}: holds no rows of a probe; esr probe makes them")
        written.update({f"{folder.name} {probe}": rows for probe, rows in found.items()})
        for probe, rows in found.items():
            for name, span in rows.items():
                told = ("–" if each is None else f"{each:.4g}" for each in span)
                print(folder.name, probe, name, *told)
    if given.record:
        write(given.record, written)


if __name__ == "__main__":
    main()
