"""The script that measures on a GPU: what it does without one, and when it is called again."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from conftest import ROOT

SCRIPT = ROOT / "scripts" / "gpu_run.sh"
PARTS = ("tests", "train", "bench", "option_none", "option_tune_compile_true")


def gpu_run(*arguments, **env):
    return subprocess.run(
        ["/bin/bash", str(SCRIPT), *arguments], capture_output=True, text=True, env=env
    )


def test_without_a_gpu_the_script_ends_with_one_line(tmp_path):
    assert subprocess.run(["/bin/bash", "-n", str(SCRIPT)]).returncode == 0
    # Without PATH there is no nvidia-smi, as where there is no GPU.
    done = gpu_run(str(tmp_path / "out"), PATH="/nowhere")
    assert done.returncode == 2 and "there is no CUDA GPU here; DEVICE=cpu" in done.stderr
    assert done.stderr.count("\n") == 1 and not done.stdout and not (tmp_path / "out").exists()


def test_parts_that_are_done_are_not_run_again(tmp_path):
    """A training run that was stopped is begun anew, unless the budget is used up."""
    for name in PARTS:
        (tmp_path / f"{name}.log").write_text(f"the last line of {name}\n")
        (tmp_path / f"{name}.done").write_text("7\n")
    (tmp_path / "train.done").unlink()
    done = gpu_run(
        str(tmp_path), **{**os.environ, "DEVICE": "cpu", "PYTHON": sys.executable, "BUDGET": "0"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": done before\n") == 4
    assert "train: left for another call, the budget is used up\n" in done.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["parts"]["bench"] == {"done": True, "seconds": 7}
    assert summary["parts"]["train"] == {"done": False, "last": ["the last line of train"]}
    assert summary["tests"] == ["the last line of tests"]
