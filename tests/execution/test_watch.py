"""Workers that hang: silent processes, overdue calls, Ctrl-C, and machines that slept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from counter import Counter
from test_execution import gone

from esr_cli.base import process as proc
from esr_cli.execution import watch
from esr_cli.execution.watch import Patience, Watch, process_signs
from esr_cli.execution.worker import WorkerError, place


@pytest.fixture
def hung():
    """A worker that may be silent for 2 seconds, and its warnings."""
    said = []
    worker = place(
        "process", "counter", Counter, {"start": 1.0}, restarts=1, remember=("set",),
        warn=said.append,
        patience=Patience(2.0, lambda method, _: 3.0 if method == "sleep" else 600.0),
    )  # fmt: skip
    worker.call("set", torch.tensor([40.0]))
    yield worker, said
    worker.close()


def test_a_stopped_worker_is_reported_killed_and_restarted(hung):
    worker, said = hung
    pid = worker.pid
    # This exceeds the buffer of a pipe that a stopped process does not read.
    big = tuple(range(500_000))
    os.kill(pid, signal.SIGSTOP)
    assert worker.call("count", big) == len(big)
    assert f"counter (pid {pid}) has been silent for" in said[0] and "in count" in said[0]
    assert f"counter (pid {pid}) was silent for" in said[1] and "restarted" in said[1]
    assert worker.call("plus", torch.tensor([2.0])).item() == 42.0
    # A worker that computes in C is alive, though its thread cannot beat.
    del said[:]
    worker.call("compute")
    assert said == []
    # No restart is left.
    with pytest.raises(WorkerError, match="did not return from sleep within 3 s and was killed"):
        worker.call("sleep", 60.0)
    # A late thread must not write into the next pipe, which takes over the descriptor.
    worker.close()
    assert worker._sent.done() and worker._received.done()


def test_a_stopped_process_of_a_worker_counts_as_silence(hung, tmp_path):
    worker, said = hung
    worker._restarts_left = 0
    with pytest.raises(WorkerError, match=r"was silent for [23] s in wait_for_a_stopped_child"):
        worker.call("wait_for_a_stopped_child", str(tmp_path / "pid"))
    assert "a process of its own is stopped" in said[0]
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_call_whose_weights_have_changed_is_not_repeated(hung):
    worker, _ = hung
    worker.begin("sleep", 0.1)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="the weights have changed"):
        worker.finish(repeatable=False)


@pytest.fixture
def sleeping():
    """The id of a process that sleeps."""
    process = subprocess.Popen(["sleep", "600"])
    yield process.pid
    process.kill()
    process.wait()


def test_time_in_which_the_trainer_did_not_run_is_not_silence(sleeping, monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(watch, "time", clock)
    said, beats = [], SimpleNamespace(value=0)
    time.sleep(0.3)  # it uses the processor until it sleeps
    seen = Watch("x", process_signs(sleeping, beats), "m", 10.0, 100.0, said.append)
    clock.now += 3600.0
    assert seen.look() == "" and said == []
    for _ in range(7):
        clock.now += 1.0
        assert seen.look() == ""
    assert "killed after 10 s" in said[0]
    beats.value += 1
    assert seen.look() == "" and "alive again after 9 s" in said[1]
    os.kill(sleeping, signal.SIGSTOP)
    while not proc.is_stopped(sleeping):
        time.sleep(0.01)
    reasons = []
    for beat in range(10):
        clock.now, beats.value = clock.now + 1.0, beat
        reasons.append(seen.look())
    assert reasons[-1] == "was silent for 10 s in m" and set(reasons[:-1]) == {""}


@pytest.mark.parametrize("where", ["call", "close"])
def test_ctrl_c_ends_the_wait_for_a_stopped_worker(where):
    code = (
        "import os, signal\n"
        "from counter import Counter\n"
        "from esr_cli.execution.worker import place\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    worker = place('process', 'counter', Counter, {'start': 1.0})\n"
        "    worker.call('say', '')\n"
        "    os.kill(worker.pid, signal.SIGSTOP)\n"
        "    print(worker.pid, flush=True)\n"
        "    try:\n"
        f"        worker.{'call(*CALL)' if where == 'call' else 'close()'}\n"
        "    finally:\n"
        "        worker.close()\n"
    ).replace("*CALL", "'sleep', 600")
    trainer = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        cwd=Path(__file__).parent, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )  # fmt: skip
    worker = next(int(line) for line in trainer.stdout if line.strip())
    time.sleep(0.5)
    trainer.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert trainer.wait(timeout=30) != 0 and time.monotonic() - began < 8
    assert gone(worker)
