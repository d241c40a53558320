"""Finds and reads rows of data files, and validates their fields."""

from __future__ import annotations

import codecs
import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from esr_cli.base import hub as hf_hub
from esr_cli.base import places, reading
from esr_cli.base.failures import brief
from esr_cli.base.files import find_data, hash_of
from esr_cli.config import ConfigError, HubConfig
from esr_cli.tasks import tables

# Beyond it a float no longer holds every integer; NaN and infinity are no numbers of a data set.
LARGEST = 2.0**53
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
        named = isinstance(own, str | int) and type(own) is not bool and own != ""
        return str(own) if named else hash_of(self.values)

    def get(self, field: str, kind: Any) -> Any:
        """Returns the value of a field; raises `ConfigError` if it is missing or not a `kind`."""
        value: Any = self.values.get(field)
        if kind in (int, float) and not _is_number(value):
            fits = False
        elif kind is float:
            return float(value)
        else:
            fits = isinstance(value, kind) and (kind is not str or bool(value.strip()))
        if not fits:
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
    """Returns the rows of a file or of the files in a folder, see `scan`."""
    return list(scan(path))


def scan(path: Path, split: str = "") -> Iterator[Row]:
    """Yields the rows of a file: JSON lines, an array in a `.json` file, Parquet or Arrow.

    JSON may be compressed (`.gz`). A folder stands for its files, with a `split` for those of it,
    see `tables.files_of`. Raises `ConfigError` at a broken row.
    """
    if path.is_dir():
        for each in tables.files_of(path, split):
            yield from scan(each)
        return
    if path.suffix in tables.READERS:
        for number, values in enumerate(tables.rows_of(path)):
            yield Row(f"{path} row {number}", number, values)
        return
    if path.suffix in (".csv", ".tsv"):
        raise ConfigError(
            f"{path}: is no JSON; make JSON lines of it: pandas.read_csv('{path.name}')"
            f".to_json('{path.stem}.jsonl', orient='records', lines=True)"
        )
    try:
        with reading.open_file(path) as raw:
            # Limits hold for what is unpacked, too.
            file: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            yield from _array(path, file) if _holds_array(path, file) else _rows(path, file)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); fetch it again") from None


def _holds_array(path: Path, file: Any) -> bool:
    # BFCL names JSON lines files `.json`, so the name alone does not decide.
    if ".json" not in path.suffixes:
        return False
    start = file.read(100).removeprefix(codecs.BOM_UTF8).lstrip()
    file.seek(0)
    return start.startswith(b"[")


def _array(path: Path, file: Any) -> Iterator[Row]:
    try:
        values = reading.parse(reading.all_of(file, path))
    except reading.BrokenError as error:
        line = error.line
        raise ConfigError(f"{path}:{line}: not JSON ({error}); fix it or fetch it again") from None
    for number, value in enumerate(values):
        where = f"{path} row {number}"
        yield Row(where, number, _object(where, value))


def _rows(path: Path, file: IO[bytes]) -> Iterator[Row]:
    number = 0
    for line, content in reading.lines_of(file, path):
        if not content.strip():
            continue
        where = f"{path}:{line}"
        try:
            values = reading.parse(reading.decoded(content, where))
        except reading.BrokenError as error:
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

    Of a folder the files of `hub.split` are read. Raises `ConfigError` with both remedies if
    neither works.
    """
    if paths := places.locate(name, files, hub.path, source, data_dir):
        return (row for path in paths for row in scan(path, hub.split))
    reason = "" if os.path.isdir(hub.path) else hf_hub.out_of_reach()
    try:
        return _from_hub(hub)
    except Exception as error:  # a download can raise anything
        remedy = places.missing(name, files, source, data_dir)
        raise ConfigError(
            f"{remedy}; {hub.path} by name, split {hub.split}: {reason or brief(error)}"
        ) from None


def folders(files: list[str], hub: HubConfig, data_dir: str | None) -> list[str]:
    """A note on each local folder of a data set: the files that `stream` reads, and the others."""
    found = [find_data(each, data_dir) for each in files]
    if None in found:  # the hub is read instead
        return []
    return [tables.note(each, hub.split) for each in found if each and each.is_dir()]


def _from_hub(hub: HubConfig) -> Iterator[Row]:
    # Imported late, because the import takes seconds and local files do not need it.
    import datasets

    rows = datasets.load_dataset(hub.path, hub.name, split=hub.split)
    return (
        Row(f"{hub.path} {hub.split} row {number}", number, dict(values))
        for number, values in enumerate(rows)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and abs(value) <= LARGEST


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
