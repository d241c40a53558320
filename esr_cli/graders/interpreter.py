"""Locates the Python interpreter for the sandbox and makes it readable for another user.

The sandbox mounts the interpreter that runs esr at `/python`, and numpy, which some responses
import, at `/site`. If esr runs as root, the candidate runs as another user, who may lack access to
the folder (a pyenv below /root). In that case interpreter and numpy are copied to the temporary
folder once per process (about 0.3 s, 150 MiB) and removed at exit.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
UNUSED = ("site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip")
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
    prefix, site = Path(sys.base_prefix).resolve(), _numpy_folders()
    if os.geteuid() or all(_readable_by_others(path) for path in [prefix / "bin" / VERSION, *site]):
        return prefix, site
    home = Path(tempfile.mkdtemp(prefix="esr-python-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    home.chmod(0o755)
    if not _readable_by_others(home):
        raise RuntimeError(f"{home.parent} is closed to other users: set TMPDIR to an open folder")
    return _copy_interpreter(prefix, home), [_copy_tree(path, home / path.name) for path in site]


def _numpy_folders() -> list[Path]:
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        return []
    package = Path(found.origin).parent
    return [path for path in (package, package.with_name("numpy.libs")) if path.is_dir()]


def _readable_by_others(path: Path) -> bool:
    readable = path.stat().st_mode & 0o005 == 0o005
    return readable and all(folder.stat().st_mode & 0o001 for folder in path.parents)


def _in_system(prefix: Path) -> bool:
    return prefix.is_relative_to("/usr")


def _copy_interpreter(prefix: Path, home: Path) -> Path:
    (home / "bin").mkdir()
    shutil.copy(prefix / "bin" / VERSION, home / "bin" / VERSION)
    _copy_tree(prefix / "lib" / VERSION, home / "lib" / VERSION)
    for library in (prefix / "lib").glob("libpython*.so*"):
        shutil.copy(library, home / "lib" / library.name)
    return home


def _copy_tree(source: Path, target: Path) -> Path:
    skip = shutil.ignore_patterns(*UNUSED, "config-*", "*.a", "*.opt-?.pyc")
    shutil.copytree(source, target, ignore=skip, ignore_dangling_symlinks=True)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target
