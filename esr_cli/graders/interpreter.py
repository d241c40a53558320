"""Locates the Python interpreter for the sandbox and makes it readable for another user.

The sandbox mounts the interpreter that runs esr at `/python`, and numpy, which some responses
import, at `/site`. If esr runs as root, the candidate runs as another user, who may lack access to
the folder (a pyenv below /root): bubblewrap mounts only what that user can reach. In that case what
is closed is copied once (about 0.3 s, 150 MiB) to a cache that all processes share.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from esr_cli.graders.shared_copy import open_to_others, shared

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
UNUSED = ("site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip")
UNUSED_FILE = re.compile(r".*(\.a|\.opt-.\.pyc)").fullmatch
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache")


@functools.cache
def binds() -> list[str]:
    """Returns bwrap's arguments to mount the interpreter, its libraries and numpy read-only."""
    prefix, site = _sources()
    arguments = [option for path in SYSTEM for option in ("--ro-bind-try", path, path)]
    if not _in_system(prefix):
        arguments += ["--ro-bind", str(prefix), "/python"]
    for path in site:
        arguments += ["--ro-bind", str(path), f"/site/{path.name}"]
    return arguments


@functools.cache
def executable() -> str:
    """Returns the interpreter's path inside the sandbox."""
    prefix = _sources()[0]
    return f"{prefix}/bin/{VERSION}" if _in_system(prefix) else f"/python/bin/{VERSION}"


@functools.cache
def _sources() -> tuple[Path, list[Path]]:
    """The folder of the interpreter and those of numpy, or their copies."""
    prefix, site = Path(sys.base_prefix).resolve(), _numpy_folders()
    if not _is_closed(prefix / "bin" / VERSION):
        home = prefix
    else:
        home = shared("python", dict(_interpreter_files(prefix)))
    packages = [
        shared(path.name, dict(_files(path.parent, path))) / path.name if _is_closed(path) else path
        for path in site
    ]
    return home, packages


def _is_closed(path: Path) -> bool:
    return os.geteuid() == 0 and not open_to_others(path)


def _numpy_folders() -> list[Path]:
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        return []
    package = Path(found.origin).parent
    return [path for path in (package, package.with_name("numpy.libs")) if path.is_dir()]


def _in_system(prefix: Path) -> bool:
    return prefix.is_relative_to("/usr")


def _interpreter_files(prefix: Path) -> Iterator[tuple[str, Path]]:
    yield f"bin/{VERSION}", prefix / "bin" / VERSION
    yield from _files(prefix, prefix / "lib" / VERSION)
    for library in (prefix / "lib").glob("libpython*.so*"):
        yield f"lib/{library.name}", library


def _files(root: Path, inside: Path) -> Iterator[tuple[str, Path]]:
    """Yields the files that a program may import, by their path from the root."""
    for folder, names, found in os.walk(inside):
        names[:] = [name for name in names if name not in UNUSED and not name.startswith("config-")]
        for name in found:
            path = Path(folder, name)
            if path.is_file() and not UNUSED_FILE(name):
                yield str(path.relative_to(root)), path
