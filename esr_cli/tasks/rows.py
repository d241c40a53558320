"""Rows of data files: found, read, and checked field by field."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.config import ConfigError, HubConfig

NAMES = {str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "an object"}


@dataclass(frozen=True)
class Row:
    """One row and where it stands (`file:line`), for messages."""

    where: str
    number: int
    values: dict[str, Any]

    def get(self, field: str, kind: Any) -> Any:
        """The value of a field; raises `ConfigError` where it is missing or not a `kind`."""
        value = self.values.get(field)
        if isinstance(value, int) and kind is float:
            return float(value)
        if not isinstance(value, kind) or (kind is str and not value.strip()):
            found = "is missing" if field not in self.values else f"is {_short(value)}"
            raise ConfigError(f"{self.where}: field {field!r} {found}; it must be {NAMES[kind]}")
        return value


def read(path: Path) -> list[Row]:
    """The objects of a JSON lines file (`.gz` too); raises `ConfigError` at a broken line."""
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            return list(_rows(path, file))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); fetch it again") from None


def _rows(path: Path, lines: Any) -> Iterator[Row]:
    number = 0
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        where = f"{path}:{line}"
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{where}: broken row, not JSON ({error})") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{where}: broken row, {_short(values)} where an object must stand")
        yield Row(where, number, values)
        number += 1


def find(name: str, data_dir: str | None) -> Path | None:
    """A data file below `data_dir` or ESR_DATA, or none."""
    folder = data_dir or os.environ.get("ESR_DATA")
    path = Path(folder or "").expanduser() / name
    return path if folder and path.is_file() else None


def load(
    name: str, files: list[str], hub: HubConfig, source: str, data_dir: str | None
) -> list[Row]:
    """The rows of a data set's files, else of the set by name where there is a network.

    Raises `ConfigError` that names both ways where neither works.
    """
    paths = [find(file, data_dir) for file in files]
    if None not in paths:
        return [row for path in paths if path for row in read(path)]
    missing = files[paths.index(None)]
    folder = data_dir or os.environ.get("ESR_DATA")
    looked = f"not in {folder}" if folder else "no data_dir and no ESR_DATA is set"
    remedy = f"{name}: {missing}: {looked}; put {source} there and give data_dir=FOLDER"
    if not hub.path:
        raise ConfigError(remedy)
    try:
        return list(_from_hub(hub))
    except Exception as error:  # whatever a download can raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{remedy}, or connect to a network for {hub.path} by name ({_short(reason)})"
        ) from None


def _from_hub(hub: HubConfig) -> Iterator[Row]:
    # Seconds of import that a file at hand does not cost.
    import datasets

    rows = datasets.load_dataset(hub.path, hub.name, split=hub.split)
    for number, values in enumerate(rows):
        yield Row(f"{hub.path} {hub.split} row {number}", number, dict(values))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
