"""The copy of the interpreter that all processes share."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import open_folders

from esr_cli.graders import shared_copy
from esr_cli.graders.shared_copy import open_to_others, shared


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder, and the next choices below `tmp_path`, all open to other users."""
    open_folders(tmp_path)
    monkeypatch.setenv("ESR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shared_copy, "SYSTEM_CACHE", tmp_path / "system")
    monkeypatch.setattr(shared_copy.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def sources(tmp_path):
    closed = tmp_path / "closed"
    (closed / "lib").mkdir(parents=True)
    for name in ("run", "lib/module.py", "lib/module.pyc"):
        (closed / name).write_text(name)
        (closed / name).chmod(0o600)
    (closed / "run").chmod(0o700)
    return {name: closed / name for name in ("run", "lib/module.py", "lib/module.pyc")}


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_copy_is_made_once_readable_by_others_and_named_by_its_content(cache, sources):
    copy = shared("python", sources)
    assert copy.parent == cache / "sandbox"
    modes = {name: (copy / name).stat().st_mode & 0o777 for name in (*sources, "lib", ".")}
    assert modes == {"run": 0o755, "lib/module.py": 0o644, "lib/module.pyc": 0o644, "lib": 0o755,
                     ".": 0o755}  # fmt: skip
    made = copy.stat().st_ino
    # Byte code appears as modules are imported.
    sources["lib/module.pyc"].write_text("compiled again")
    assert shared("python", sources) == copy and copy.stat().st_ino == made
    sources["lib/module.py"].write_text("another version")
    other = shared("python", sources)
    assert other != copy and (other / "lib/module.py").read_text() == "another version"
    assert (copy / "lib/module.py").read_text() == "lib/module.py"


@pytest.mark.parametrize(
    "damage",
    [
        lambda copy: (copy / "lib/module.py").write_text("lib/modul?.py"),
        lambda copy: (copy / "lib/module.pyc").unlink(),
        lambda copy: (copy / "manifest.json").write_text("{"),
        lambda copy: os.truncate(copy / "run", 0),
    ],
)
def test_a_damaged_copy_is_made_again(cache, sources, damage):
    copy = shared("python", sources)
    before = everything_below(cache)
    damage(copy)
    assert shared("python", sources) == copy
    assert (copy / "lib/module.py").read_text() == "lib/module.py"
    assert everything_below(cache) == before


def test_what_a_killed_process_left_is_used_or_removed(cache, sources):
    copy = shared("python", sources)
    before = everything_below(cache)
    partial = copy.with_name(f".{copy.name}.partial")
    copy.rename(partial)
    assert shared("python", sources) == copy
    assert everything_below(cache) == before


def test_processes_at_once_share_one_copy(cache, sources):
    code = (
        "import sys; from pathlib import Path; from esr_cli.graders import shared_copy\n"
        "root = Path(sys.argv[1]); found = shared_copy.shared('python', {n: root / n for n in "
        "('run', 'lib/module.py', 'lib/module.pyc')}); print(found, found.stat().st_ino)"
    )
    command = [sys.executable, "-c", code, str(sources["run"].parent)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = {process.communicate()[0] for process in started}
    assert len(outputs) == 1 and all(process.returncode == 0 for process in started)
    assert len(list((cache / "sandbox").iterdir())) == 2  # the copy and the lock


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone needs copies")
def test_a_folder_that_others_could_change_or_not_read_is_not_used(cache, sources, tmp_path):
    (cache / "sandbox").mkdir(parents=True)
    (cache / "sandbox").chmod(0o777)
    assert shared("python", sources).is_relative_to(tmp_path / "system")
    (cache / "sandbox").chmod(0o755)
    cache.chmod(0o700)
    (tmp_path / "system").rename(tmp_path / "away")
    (tmp_path / "system").write_text("no folder")
    with pytest.warns(UserWarning, match="closed to other users.*system.*copy is .*esr-cache"):
        found = shared("python", sources)
    assert found.is_relative_to(tmp_path / "tmp" / "esr-cache")
    (tmp_path / "tmp").rename(tmp_path / "gone")
    (tmp_path / "tmp").write_text("no folder")
    with pytest.raises(RuntimeError, match="set ESR_CACHE to a folder that is open to them"):
        shared("python", sources)


@pytest.mark.parametrize(("mode", "expected"), [(0o755, True), (0o700, False), (0o750, False)])
def test_a_file_is_open_only_if_others_can_read_and_run_it(mode, expected):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        file = Path(folder, "python")
        file.touch()
        file.chmod(mode)
        assert open_to_others(file) is expected
