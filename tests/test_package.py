"""The wheel, installed where no clone is: what it holds, and a first run."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from conftest import INLINE, ROOT, SHORT, rows


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", out, ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [found] = out.glob("esr_cli-*.whl")
    return found


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel; the packages that it needs are those of this environment."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    # A path in it is searched, but its own .pth files, such as that of this checkout, are not read.
    (packages / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--quiet"]
    subprocess.run([*install, wheel], check=True)
    return folder / "bin"


def test_the_wheel_holds_all_that_the_program_reads(wheel):
    with zipfile.ZipFile(wheel) as opened:
        held = set(opened.namelist())
    listed = subprocess.run(
        ["git", "ls-files", "esr_cli", "conf", "constraints.txt"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    wanted = {each if each.startswith("esr_cli/") else f"esr_cli/{each}" for each in listed}
    assert wanted <= held, wanted - held


def test_the_command_trains_in_an_empty_folder_with_the_installed_wheel(fresh, tmp_path):
    done = run([fresh / "esr", "train", *SHORT, *INLINE, "steps=2"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    [folder] = (tmp_path / "runs" / "lab").iterdir()
    assert len(rows(folder)) == 2 and (folder / "student" / "README.md").is_file()
    pins = run([fresh / "esr", "env"], tmp_path).stdout
    assert pins == (ROOT / "constraints.txt").read_text()
    code = "import esr_cli; print(esr_cli.__file__, esr_cli.__version__)"
    place, version = run([fresh / "python", "-c", code], tmp_path).stdout.split()
    assert Path(place).is_relative_to(fresh.parent), place
    [start] = rows(folder, "environment.jsonl")
    assert f"esr-cli {version}," in start["versions"]


def run(command: list, folder: Path) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
