"""What stands on disk: folders and files that are whole or absent, and rows of JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; the one before it is intact."""


def write_folder(target: Path, write: Callable[[Path], Any]) -> None:
    """Fills a folder by `write` so that `target` is, at every moment, whole or as it was.

    Raises `CheckpointError` where it cannot be filled.
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
        # safetensors reports a full disk by an exception of its own.
        if isinstance(error, Exception):
            raise CheckpointError(f"{target.name} could not be saved ({error})") from error
        raise
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    sync(target.parent)


def conf_dir() -> Path:
    """The folder of yaml files: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


def options(group: str) -> list[str]:
    """The names that a group of conf offers, in order."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def latest(run_dir: Path) -> Path | None:
    """The last whole checkpoint of a run, or none."""
    whole = checkpoints(run_dir)
    return whole[-1] if whole else None


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint's folder is named after."""
    return int(checkpoint.name.removeprefix("step-"))


def checkpoints(run_dir: Path) -> list[Path]:
    """The whole checkpoints of a run, first to last."""
    return sorted((run_dir / "checkpoints").glob("step-*"))


def data_folder(data_dir: str | None) -> str | None:
    """Where data files lie: `data_dir`, else the environment variable ESR_DATA, if any."""
    return data_dir or os.environ.get("ESR_DATA")


def find_data(name: str, data_dir: str | None) -> Path | None:
    """A data file below `data_folder`, or by its whole path; none where it is absent."""
    folder = data_folder(data_dir)
    path = Path(folder or "").expanduser() / Path(name).expanduser()
    return path if (folder or path.is_absolute()) and path.is_file() else None


def read_json(path: Path) -> Any:
    """What a JSON file holds; ValueError with its name where it is broken."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: is broken ({error}); delete it") from None


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that the file is whole or absent."""
    _write_whole(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text so that the file is whole or absent."""
    _write_whole(path, text)


def read_rows(path: Path) -> Rows:
    """The rows of a JSON lines file, none where it does not exist.

    A line broken off by a crash is no row, and neither is one that is no mapping.
    """
    rows: Rows = []
    text = path.read_text(errors="replace") if path.exists() else ""
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            row = json.loads(line)
            if isinstance(row, dict):
                rows.append(row)
    return rows


def headlines(rows: Rows) -> Rows:
    """Of the rows of `eval.jsonl`, the figure that stands for each evaluation: avg@k."""
    return [row for row in rows if row["metric"].startswith("avg@")]


def write_rows(path: Path, rows: Rows) -> None:
    """Writes JSON lines so that the file is whole or as it was."""
    _write_whole(path, _lines(rows))


def append_rows(path: Path, rows: Rows) -> None:
    """Adds JSON lines at the end of a file; `sync` before something counts on them."""
    with path.open("a") as file:
        file.write(_lines(rows))


def truncate_jsonl(path: Path, step: int) -> None:
    """Keeps the rows up to `step`; a last line broken off by a crash goes too."""
    write_rows(path, [row for row in read_rows(path) if row["step"] <= step])


def hash_of(config: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that change with any setting."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _lines(rows: Rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    sync(partial)
    partial.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file's content, or the names in a folder, would outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
