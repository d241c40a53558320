"""Where the files of a data set are: below data_dir, at a path of their own, or on the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from esr_cli.base import hub
from esr_cli.base.files import data_folder, find_data
from esr_cli.base.reading import ConfigError


def locate(
    name: str, files: Sequence[str], hub_path: str, source: str, data_dir: str | None
) -> list[Path]:
    """Returns the local files of a data set; none if it must be downloaded.

    Raises `ConfigError` at once if a file is missing and the hub cannot be asked for it.
    """
    paths = [path for file in files if (path := find_data(file, data_dir))]
    if files and len(paths) == len(files):
        return paths
    remedy = missing(name, files, source, data_dir)
    if not hub_path:
        raise ConfigError(remedy)
    if not hub.knows_data(hub_path) and (reason := hub.out_of_reach()):
        raise ConfigError(f"{remedy}, or connect to a network for {hub_path} by name ({reason})")
    return []


def missing(name: str, files: Sequence[str], source: str, data_dir: str | None) -> str:
    """What is missing of a data set, and where to put it."""
    folder = data_folder(data_dir)
    absent = next((file for file in files if not find_data(file, data_dir)), "no file is named")
    if not files:
        return f"{name}: {absent}"
    if not source:  # the user's own
        below = f"a path below {folder}" if folder else "data_dir=FOLDER if it lies below one"
        return f"{name}: {absent}: no such file; give a path that exists, or {below}"
    searched = f"not in {folder}" if folder else "no data_dir and no ESR_DATA is set"
    return f"{name}: {absent}: {searched}; put {source} there and give data_dir=FOLDER"
