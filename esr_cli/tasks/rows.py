"""Finds and reads rows of data files, and validates their fields."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.base.files import data_folder, find_data, hash_of
from esr_cli.config import ConfigError, HubConfig

NAMES = {str: "a string", int: "an integer", float: "a number", list: "a list", dict: "an object"}


@dataclass(frozen=True)
class Row:
    """One row with its location (`file:line`) for messages."""

    where: str
    number: int
    values: dict[str, Any]

    @property
    def id(self) -> str:
        """The row's `id`, else a hash of its content, which does not depend on its position."""
        own = self.values.get("id")
        return str(own) if isinstance(own, str | int) and own != "" else hash_of(self.values)

    def get(self, field: str, kind: Any) -> Any:
        """Returns the value of a field; raises `ConfigError` if it is missing or not a `kind`."""
        value = self.values.get(field)
        if isinstance(value, int) and kind is float:
            return float(value)
        if not isinstance(value, kind) or (kind is str and not value.strip()):
            found = "is missing" if field not in self.values else f"is {_short(value)}"
            raise ConfigError(f"{self.where}: field {field!r} {found}; it must be {NAMES[kind]}")
        return value

    def text(self, field: str) -> str | None:
        """Returns a field's text, or None if it is blank or null; raises `ConfigError` if missing.

        Blank values are accepted, because published data sets contain a few of them.
        """
        value = self.values.get(field)
        blank = field in self.values and (value is None or value == "" or str(value).isspace())
        return None if blank else self.get(field, str).strip()


def read(path: Path) -> list[Row]:
    """Returns the objects of a JSON lines file or a JSON array, see `scan`."""
    return list(scan(path))


def scan(path: Path) -> Iterator[Row]:
    """Yields the objects of a file: JSON lines, or an array in a `.json` file.

    Either may be compressed (`.gz`). Raises `ConfigError` at a broken row.
    """
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            yield from _array(path, file) if _holds_array(path, file) else _rows(path, file)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); fetch it again") from None


def _holds_array(path: Path, file: Any) -> bool:
    # BFCL names JSON lines files `.json`, so the name alone does not decide.
    if ".json" not in path.suffixes:
        return False
    start = file.read(100).lstrip("\ufeff \t\r\n")
    file.seek(0)
    return start.startswith("[")


def _array(path: Path, file: Any) -> Iterator[Row]:
    try:
        values = json.load(file)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise ConfigError(f"{path}:{line}: not JSON ({error}); fix it or fetch it again") from None
    for number, value in enumerate(values):
        where = f"{path} row {number}"
        yield Row(where, number, _object(where, value))


def _rows(path: Path, lines: Any) -> Iterator[Row]:
    number = 0
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        where = f"{path}:{line}"
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{where}: broken row, not JSON ({error}); fix it") from None
        yield Row(where, number, _object(where, values))
        number += 1


def _object(where: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: broken row, {_short(values)} is not an object")
    return values


def load(
    name: str, files: list[str], hub: HubConfig, source: str, data_dir: str | None
) -> list[Row]:
    """Returns all rows of a data set, see `stream`."""
    return list(stream(name, files, hub, source, data_dir))


def stream(
    name: str, files: list[str], hub: HubConfig, source: str, data_dir: str | None
) -> Iterator[Row]:
    """Yields the rows of a data set's local files, else downloads the data set from `hub`.

    Raises `ConfigError` with both remedies if neither works.
    """
    paths = [find_data(file, data_dir) for file in files]
    if files and None not in paths:
        return (row for path in paths if path for row in scan(path))
    folder = data_folder(data_dir)
    searched = f"not in {folder}" if folder else "no data_dir and no ESR_DATA is set"
    missing = files[paths.index(None)] if files else "no file is named"
    remedy = f"{name}: {missing}: {searched}; put {source} there and give data_dir=FOLDER"
    if not hub.path:
        raise ConfigError(remedy)
    try:
        return _from_hub(hub)
    except Exception as error:  # a download can raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{remedy}, or connect to a network for {hub.path} by name ({_short(reason)})"
        ) from None


def _from_hub(hub: HubConfig) -> Iterator[Row]:
    # Imported late, because the import takes seconds and local files do not need it.
    import datasets

    rows = datasets.load_dataset(hub.path, hub.name, split=hub.split)
    return (
        Row(f"{hub.path} {hub.split} row {number}", number, dict(values))
        for number, values in enumerate(rows)
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
