"""A run whose student is sharded over ranks ends as in one process, also if ranks die."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from conftest import start, timeless, wait_for_step
from safetensors.torch import load_file

from esr_cli.base import process as proc

PLAIN = ("rollout=eager", "steps=30", "run_dir=run", "execution.trainers=2")


def workers_of(driver):
    """The worker processes of a run, oldest first: engine, teacher, ranks."""
    found = []
    for pid in proc.descendants(driver):
        with suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return sorted(found)


def test_a_run_whose_ranks_die_ends_as_one_in_one_process(unbroken, tmp_path):
    process = start(*PLAIN, "execution.restarts=2", cwd=tmp_path)
    run = tmp_path / "run"
    for step, victim in ((4, -1), (15, -2)):
        wait_for_step(run, step, process)
        os.kill(workers_of(process.pid)[victim], signal.SIGKILL)
    assert process.wait() == 0, process.stderr.read()
    log = (run / "esr.log").read_text()
    assert log.count("; resuming from step-") == 2, log
    ours, theirs = (load_file(each / "student" / "model.safetensors") for each in (run, unbroken))
    assert ours.keys() == theirs.keys()
    far = max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)
    assert far <= 1e-6, far
    assert [row["step"] for row in timeless(run)] == list(range(1, 31))
