"""A run whose student is sharded over ranks ends as in one process, also if ranks die."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from conftest import INLINE, esr, rows, start, timeless, wait_for_step
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


def same_weights(run, other):
    ours, theirs = (load_file(each / "student" / "model.safetensors") for each in (run, other))
    assert ours.keys() == theirs.keys()
    far = max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)
    assert far <= 1e-6, far


def test_a_run_whose_ranks_die_ends_as_one_in_one_process(unbroken, tmp_path):
    process = start(*PLAIN, "execution.restarts=2", cwd=tmp_path)
    run = tmp_path / "run"
    for step, victim in ((4, -1), (15, -2)):
        wait_for_step(run, step, process)
        os.kill(workers_of(process.pid)[victim], signal.SIGKILL)
    assert process.wait() == 0, process.stderr.read()
    log = (run / "esr.log").read_text()
    assert log.count("; resuming from step-") == 2, log
    same_weights(run, unbroken)
    assert [row["step"] for row in timeless(run)] == list(range(1, 31))


def test_checkpoints_in_parts_are_read_by_one_process(unbroken, tmp_path):
    process = start(*PLAIN, "execution.whole_gib=0", cwd=tmp_path)
    wait_for_step(tmp_path / "run", 7, process)
    process.kill()
    process.wait()
    *_, last = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert len(list(last.glob("shard-*.safetensors"))) == 2
    done = esr(
        "eval", "run=run", "rollout=eager", "execution=inline", "benchmark=lab", "limit=4",
        "benchmark.lab.samples=1", "out=eval", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row["step"] for row in rows(tmp_path / "eval", "eval.jsonl")} == {int(last.name[5:])}
    done = esr("train", "resume=run", *INLINE[1:], "execution.trainers=1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["step"] for row in timeless(tmp_path / "run")] == list(range(1, 31))
    same_weights(tmp_path / "run", unbroken)
