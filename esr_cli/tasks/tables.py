"""Rows of Parquet and Arrow files, read through `datasets`."""

from __future__ import annotations

import glob
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from esr_cli.base import reading
from esr_cli.base.failures import brief
from esr_cli.base.reading import printable
from esr_cli.config import ConfigError

# The end of a file's name, and what `datasets` calls such files.
READERS = {".parquet": "parquet", ".arrow": "arrow"}
TEXTS = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
# Other words for a split in the names of files, as `datasets` takes them.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
# The split of all files.
ALL = "all"
# File names that a note shows.
MOST_SHOWN = 3
# What `datasets` writes beside the rows.
BESIDE = ("dataset_info.json", "state.json", "dataset_dict.json")


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the rows of a file; raises `ConfigError` if it cannot be read.

    Batches are read as they are needed. Neither the cache nor the network is used.
    """
    reading.open_file(path).close()
    # Otherwise `datasets` counts the use of its reader on the hub.
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")
    # Imported late, because the import takes seconds.
    import datasets

    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    # `datasets` takes a name for a pattern of names.
    files = {"train": glob.escape(str(path.resolve()))}
    try:
        with tempfile.TemporaryDirectory() as cache:
            rows = datasets.load_dataset(
                READERS[path.suffix], data_files=files, split="train", streaming=True,
                cache_dir=cache,
            )  # fmt: skip
            # Otherwise an image would be opened, from its address if the row names one.
            yield from rows.decode(False)
    except Exception as error:  # a damaged file can raise anything
        raise ConfigError(f"{path}: cannot be read ({brief(error)}); fetch it again") from None


def files_of(folder: Path, split: str) -> list[Path]:
    """The data files of a folder that belong to a split: those with its name in theirs, else those
    that name no split.

    A part such as `train[:9]` stands for the split, and `all` and an empty one for all files.
    Raises `ConfigError` if all files belong to other splits.
    """
    found = _files_in(folder)
    if split in (ALL, ""):
        return found
    wanted = [each.partition("[")[0].strip() for each in split.split("+")]
    own = [path for path in found if any(_is_of(path, each) for each in wanted)]
    taken = own or [path for path in found if not any(_is_of(path, each) for each in SPLITS)]
    if not taken:
        raise ConfigError(
            f"{folder}: holds no file of the split {split}, only {_named(found)}; name the files "
            "that are meant"
        )
    return taken


def note(folder: Path, split: str) -> str:
    """A line on the files of a folder that belong to a split, and on those that do not."""
    taken = files_of(folder, split)
    others = [path for path in _files_in(folder) if path not in taken]
    more = f", without {_named(others)}" if others else ""
    return f"from {folder.name}: {_named(taken)}{more}"


def _is_of(path: Path, split: str) -> bool:
    known = next((words for words in SPLITS.values() if split in words), (split,))
    words = "|".join(map(re.escape, known))
    return bool(re.search(rf"(?<![a-z])(?:{words})(?![a-z])", path.name.lower()))


def _named(paths: list[Path]) -> str:
    more = [f"{len(paths) - MOST_SHOWN} more"] if len(paths) > MOST_SHOWN else []
    return ", ".join([*(printable(path.name) for path in paths[:MOST_SHOWN]), *more])


def _files_in(folder: Path) -> list[Path]:
    """The data files of a folder by name, such as one that `Dataset.save_to_disk` wrote.

    Raises `ConfigError` if there is no data file, or tables beside files of JSON.
    """
    entries = sorted(each for each in folder.iterdir() if each.is_file())
    tables = [each for each in entries if each.suffix in READERS]
    # What `Dataset.map` has cached is not the data set.
    tables = [each for each in tables if not each.name.startswith("cache-")]
    texts = [each for each in entries if each.name.endswith(TEXTS) and each.name not in BESIDE]
    if tables and texts:
        raise ConfigError(
            f"{folder}: holds {tables[0].name} and {texts[0].name}; name the files that are meant"
        )
    if not (found := tables or texts):
        known = ", ".join((*TEXTS[:2], *READERS))
        raise ConfigError(f"{folder}: holds no file of rows ({known}); name another folder or file")
    return found
