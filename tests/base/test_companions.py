"""Companions of torch that are of another build count as not installed."""

from __future__ import annotations

import os
import subprocess
import sys

from conftest import ROOT

from esr_cli.base import companions


def installed(folder, **versions):
    """A folder of packages of these versions; importing one of them raises."""
    for name, number in versions.items():
        (folder / f"{name}-{number}.dist-info").mkdir(parents=True)
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n"
        (folder / f"{name}-{number}.dist-info" / "METADATA").write_text(text)
        (folder / f"{name}.py").write_text("raise RuntimeError('no operator torchvision::nms')\n")


def test_only_companions_of_another_build_are_hidden(tmp_path, monkeypatch):
    installed(tmp_path / "cpu", torch="2.13.0+cpu", torchvision="0.28.0", torchaudio="2.11.0+cpu")
    installed(tmp_path / "cuda", torch="2.13.0", torchvision="0.28.0")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "cuda")])
    assert companions.mismatched() == []
    monkeypatch.setattr(sys, "path", [str(tmp_path / "cpu")])
    assert companions.mismatched() == ["torchvision"]


def test_a_module_of_others_runs_with_them_hidden(tmp_path):
    installed(tmp_path, torch="2.13.0+cpu", torchvision="0.28.0")
    (tmp_path / "other.py").write_text(
        "import importlib.util, sys\n"
        "assert __name__ == '__main__'\n"
        "print(importlib.util.find_spec('torchvision'), sys.argv[1:])\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [*companions.command("other"), "an argument"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout == "None ['an argument']\n", done.stderr
