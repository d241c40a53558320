"""Files on disk: atomic writes of files and folders, checkpoint folders, and JSON lines."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from esr_cli.base import reading, writing
from esr_cli.base.failures import Failure

Rows = list[dict[str, Any]]
_CHECKPOINT = re.compile(r"step-\d{1,12}").fullmatch


class CheckpointError(Failure):
    """A checkpoint could not be written. The previous checkpoint is intact."""


def write_folder(target: Path, write: Callable[[Path], Any]) -> None:
    """Writes a folder atomically: `write` fills a temporary folder, which then replaces `target`.

    Raises `CheckpointError` if the folder cannot be written.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        write(partial)
        for entry in [*partial.rglob("*"), partial]:
            sync(entry)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        # safetensors reports a full disk with its own exception type.
        if isinstance(error, Exception):
            raise CheckpointError(f"{target.name} could not be saved ({error})") from error
        raise
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    sync(target.parent)


def conf_dir() -> Path:
    """The folder of YAML files."""
    return packaged("conf")


def packaged(name: str) -> Path:
    """`conf` or `constraints.txt`: inside the installed package, or next to it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / name
    return inside if inside.exists() else package.parent / name


def cache_dir() -> Path:
    """The folder of what can be made again: ESR_CACHE, else `esr` below the user's cache folder."""
    own = os.environ.get("ESR_CACHE")
    return Path(own or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "esr")).expanduser()


def options(group: str) -> list[str]:
    """The option names of a configuration group, sorted."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def latest(run_dir: Path) -> Path | None:
    """The last complete checkpoint of a run, or None."""
    complete = checkpoints(run_dir)
    return complete[-1] if complete else None


def step_of(checkpoint: Path) -> int:
    """The step number in the name of a checkpoint folder."""
    return int(checkpoint.name.removeprefix("step-"))


def checkpoints(run_dir: Path) -> list[Path]:
    """The complete checkpoints of a run, first to last; other entries, links too, are left out."""
    entries = (run_dir / "checkpoints").glob("step-*")
    folders = (each for each in entries if each.is_dir() and not each.is_symlink())
    return sorted((each for each in folders if _CHECKPOINT(each.name)), key=step_of)


def data_folder(data_dir: str | None) -> str | None:
    """The folder of data files: `data_dir`, else the environment variable ESR_DATA, else None."""
    return data_dir or os.environ.get("ESR_DATA")


def find_data(name: str, data_dir: str | None) -> Path | None:
    """A file or folder of data, by its path below `data_folder` or absolute; None if absent."""
    folder = data_folder(data_dir)
    path = Path(folder or "").expanduser() / Path(name).expanduser()
    there = path.is_file() or path.is_dir()
    return path if (folder or path.is_absolute()) and there else None


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises `ConfigError` with its name if it cannot be read."""
    try:
        return reading.parse(reading.text(path))
    except reading.BrokenError as error:
        raise reading.ConfigError(f"{path}: is broken ({error}); delete it") from None


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    _write_atomically(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    _write_atomically(path, text)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically."""
    _write_atomically(path, content)


def read_rows(path: Path) -> Rows:
    """The rows of a JSON lines file; empty if the file does not exist.

    Skips lines that a crash left incomplete and lines that are not mappings. Raises `ConfigError`
    if the file is none, or if a line is too long.
    """
    rows: Rows = []
    for _, line in reading.lines(path) if os.path.lexists(path) else ():
        with contextlib.suppress(reading.BrokenError):
            row = reading.parse(line)
            if isinstance(row, dict):
                rows.append(row)
    return rows


def headlines(rows: Rows) -> Rows:
    """The rows of `eval.jsonl` with the main metric of each evaluation, avg@k."""
    return [row for row in rows if row["metric"].startswith("avg@")]


def best(rows: Rows) -> dict[str, Any]:
    """The row with the highest value, of equal ones that of the earliest step."""
    return max(rows, key=lambda row: (row["value"], -row["step"]))


def write_rows(path: Path, rows: Rows) -> None:
    """Writes a JSON lines file atomically."""
    _write_atomically(path, _lines(rows))


def append_rows(path: Path, rows: Rows) -> None:
    """Appends JSON lines to a file. Call `sync` before relying on them after a crash."""
    with writing.open_file(path, os.O_APPEND) as file:
        file.write(_lines(rows).encode())


def truncate_jsonl(path: Path, step: int) -> None:
    """Keeps the rows up to `step`, and drops a last line that a crash left incomplete."""
    write_rows(path, [row for row in read_rows(path) if row["step"] <= step])


def hash_of(config: dict[str, Any]) -> str:
    """A hash of all settings, as twelve hexadecimal digits."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _lines(rows: Rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _write_atomically(path: Path, content: str | bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with writing.open_file(partial, os.O_EXCL) as file:
        file.write(content if isinstance(content, bytes) else content.encode(errors="replace"))
    sync(partial)
    partial.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flushes a file's content, or a folder's entries, to disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
