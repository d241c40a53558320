"""Where the Python that runs inside the sandbox lies, and how another user can read it.

The sandbox shows the interpreter esr itself runs under at `/python`, and numpy, which responses
import now and then, at `/site`. As root the candidate runs as another user, who may not enter the
folder (a pyenv below /root): then interpreter and numpy are copied once a process, about 0.3 s and
150 MiB in the temporary folder, and removed at exit.
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
    """bwrap's arguments that show the interpreter, its libraries and numpy, all read-only."""
    prefix, site = _places()
    shown = [option for path in SYSTEM for option in ("--ro-bind-try", path, path)]
    if not _in_system(prefix):
        shown += ["--ro-bind", str(prefix), "/python"]
    for path in site:
        shown += ["--ro-bind", str(path), f"/site/{path.name}"]
    return shown


@functools.cache
def executable() -> str:
    """The interpreter's path inside the sandbox."""
    prefix = _places()[0]
    return f"{prefix}/bin/{VERSION}" if _in_system(prefix) else f"/python/bin/{VERSION}"


@functools.cache
def _places() -> tuple[Path, list[Path]]:
    prefix, site = Path(sys.base_prefix).resolve(), _numpy()
    if os.geteuid() or all(_open_to_others(path) for path in [prefix / "bin" / VERSION, *site]):
        return prefix, site
    home = Path(tempfile.mkdtemp(prefix="esr-python-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    home.chmod(0o755)
    if not _open_to_others(home):
        raise RuntimeError(f"{home.parent} is closed to other users: set TMPDIR to an open folder")
    return _copy_interpreter(prefix, home), [_copy_tree(path, home / path.name) for path in site]


def _numpy() -> list[Path]:
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        return []
    package = Path(found.origin).parent
    return [path for path in (package, package.with_name("numpy.libs")) if path.is_dir()]


def _open_to_others(path: Path) -> bool:
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
