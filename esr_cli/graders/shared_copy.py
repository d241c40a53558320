"""Copies of files that another user may read, made once and shared by all processes.

A copy lies below the first of these folders that can be written and is open to other users:
`files.cache_dir()`, `/var/cache/esr`, and, after a warning, one in the temporary folder. Its name
ends with a hash of the files' paths, sizes and times. It is made under a lock, appears at once when
it is whole, and is compared with its list of files before each use: a damaged copy is made again.
A process that is killed leaves nothing that the next one does not use or remove.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from esr_cli.base import files

SYSTEM_CACHE = Path("/var/cache/esr")
# Byte code is written as modules are imported, so it is not part of the name.
BYTE_CODE = ".pyc"
MANIFEST = "manifest.json"


def shared(name: str, sources: Mapping[str, Path]) -> Path:
    """Returns a folder with the `sources` by their path in it, writable by this user only.

    Raises RuntimeError if no folder can hold it.
    """
    lasting = {path: source for path, source in sources.items() if not path.endswith(BYTE_CODE)}
    key = files.hash_of({path: _size_and_time(source) for path, source in lasting.items()})
    reasons = []
    for place in (files.cache_dir(), SYSTEM_CACHE, Path(tempfile.gettempdir(), "esr-cache")):
        folder = place / "sandbox" / f"{name}-{key}"
        try:
            with _locked(folder.parent):
                if not _is_whole(folder):
                    _make(folder, sources)
        except OSError as error:
            reasons.append(f"{place}: {error.strerror or error}")
            continue
        if len(reasons) > 1:
            warnings.warn(f"{'; '.join(reasons)}: the sandbox's copy is {folder}", stacklevel=2)
        return folder
    raise RuntimeError(
        f"the interpreter is closed to other users, and a copy cannot be made ({'; '.join(reasons)}"
        "): set ESR_CACHE to a folder that is open to them"
    )


def open_to_others(path: Path) -> bool:
    """Returns whether other users can reach and read the file or list the folder."""
    readable = path.stat().st_mode & 0o005 == 0o005
    return readable and all(folder.stat().st_mode & 0o001 for folder in path.parents)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the kernel frees it when the process ends. Raises OSError."""
    closed = [each for each in folder.parents if each.is_dir() and not each.stat().st_mode & 0o001]
    if closed:
        raise PermissionError(f"{closed[-1]} is closed to other users")
    for each in (folder.parent, folder):
        with contextlib.suppress(FileExistsError):
            each.mkdir(parents=True)
            each.chmod(0o755)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} can be written by other users")
    if not open_to_others(folder):
        raise PermissionError(f"{folder} is closed to other users")
    lock = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _is_whole(folder: Path) -> bool:
    """Whether all files have the size and time of the list that was written with them."""
    try:
        listing = json.loads((folder / MANIFEST).read_text())
        return all(_size_and_time(folder / path) == tuple(each) for path, each in listing.items())
    except (OSError, ValueError):
        return False


def _make(folder: Path, sources: Mapping[str, Path]) -> None:
    """Copies the files, and puts the copy in the place of a damaged one."""
    partial, damaged = (folder.with_name(f".{folder.name}.{end}") for end in ("partial", "damaged"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for path, source in sources.items():
            target = partial / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
            target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
        for inside in [partial, *(each for each in partial.rglob("*") if each.is_dir())]:
            inside.chmod(0o755)
        listing = {path: _size_and_time(partial / path) for path in sources}
        (partial / MANIFEST).write_text(json.dumps(listing))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    # Not deleted in place: until it is replaced, another process may run in the damaged one.
    with contextlib.suppress(FileNotFoundError):
        folder.rename(damaged)
    partial.rename(folder)
    shutil.rmtree(damaged, ignore_errors=True)


def _size_and_time(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
