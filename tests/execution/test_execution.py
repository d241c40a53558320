"""Workers: results, errors with their traceback, death and what follows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from esr_cli.base import process as proc
from esr_cli.execution import processes
from esr_cli.execution.worker import WorkerError, place


class Counter:
    """Adds tensors up; dies or raises when asked."""

    def __init__(self, start: float, more: tuple[int, ...] = ()) -> None:
        if start < 0:
            raise ValueError("starts below zero")
        self.total = torch.tensor([start])

    def set(self, value: torch.Tensor) -> None:
        """Remembers a copy."""
        self.total = value.clone()

    def plus(self, value: torch.Tensor) -> torch.Tensor:
        """The remembered value and this one."""
        return self.total + value

    def fail(self) -> None:
        """Raises."""
        raise KeyError("no such thing")

    def say(self, text: str) -> None:
        """Prints as Python does, and past Python as a C library would."""
        print(text, flush=True)
        os.write(2, b"from below\n")

    def sleep(self, seconds: float) -> None:
        """Is busy."""
        time.sleep(seconds)

    def die(self) -> None:
        """Kills its process."""
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(params=["inline", "process"])
def worker(request):
    options = {"restarts": 1, "remember": ("set",)} if request.param == "process" else {}
    made = place(request.param, "counter", Counter, {"start": 1.0}, **options)
    yield made
    made.close()


def test_tensors_go_there_and_back(worker):
    assert worker.call("plus", torch.tensor([2.0])).item() == 3.0


def test_what_it_raises_comes_back():
    worker = place("process", "counter", Counter, {"start": 1.0})
    with pytest.raises(WorkerError, match="no such thing"):
        worker.call("fail")
    assert worker.call("plus", torch.tensor([1.0])).item() == 2.0
    worker.close()


def test_one_that_cannot_start_says_why():
    worker = place("process", "counter", Counter, {"start": -1.0}, restarts=3)
    with pytest.raises(WorkerError, match="starts below zero"):
        worker.call("plus", torch.tensor([1.0]))
    worker.close()


def test_a_killed_worker_is_made_again_and_told_what_it_knew():
    said = []
    worker = place(
        "process", "counter", Counter, {"start": 1.0},
        restarts=1, remember=("set",), on_restart=said.append,
    )  # fmt: skip
    worker.call("set", torch.tensor([40.0]))
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.call("plus", torch.tensor([2.0])).item() == 42.0
    assert len(said) == 1
    with pytest.raises(WorkerError, match="died"):
        worker.call("die")
    worker.close()


def test_one_that_dies_at_work_is_asked_again_when_its_answer_is_wanted():
    worker = place("process", "counter", Counter, {"start": 1.0}, restarts=1, on_restart=str)
    worker.call("plus", torch.tensor([1.0]))
    worker.begin("sleep", 0.2)
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.finish() is None
    assert worker.call("plus", torch.tensor([2.0])).item() == 3.0
    worker.close()


def test_one_at_work_is_not_waited_for_at_the_end():
    worker = place("process", "counter", Counter, {"start": 1.0})
    worker.call("plus", torch.tensor([1.0]))
    worker.begin("sleep", 60.0)
    began = time.monotonic()
    worker.close()
    assert time.monotonic() - began < 8 and worker.pid is None


def test_orders_larger_than_a_pipe_keep_nobody_waiting():
    worker = place("process", "counter", Counter, {"start": 1.0, "more": tuple(range(200_000))})
    began = time.monotonic()
    worker.start()
    assert worker._orders.is_alive() or time.monotonic() - began < 0.5
    assert worker.call("plus", torch.tensor([2.0])).item() == 3.0
    worker.close()


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_worker_lives_where_a_stream_is_closed(closed, tmp_path):
    code = (
        "from pathlib import Path\n"
        "from test_execution import Counter, place, processes, torch\n"
        "if __name__ == '__main__':\n"
        "    processes.prelaunch('counter', 'json')\n"
        "    worker = place('process', 'counter', Counter, {'start': 1.0})\n"
        f"    found = worker.call('plus', torch.tensor([1.0])).item()\n"
        f"    Path({str(tmp_path / 'found')!r}).write_text(str(found))\n"
        "    worker.close()\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    there = Path(__file__).parent
    subprocess.run(
        f"{sys.executable} {script} {closed}>&-", shell=True, check=True,
        env={**os.environ, "PYTHONPATH": f"{there}:{there.parent}:{ROOT}"},
    )  # fmt: skip
    assert (tmp_path / "found").read_text() == "2.0"


def test_a_group_wide_sigterm_leaves_the_worker_alone():
    worker = place("process", "counter", Counter, {"start": 1.0})
    worker.call("plus", torch.tensor([1.0]))
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.call("plus", torch.tensor([1.0])).item() == 2.0
    worker.close()


def test_what_a_worker_prints_is_in_its_log(tmp_path):
    log = tmp_path / "counter.log"
    worker = place("process", "counter", Counter, {"start": 1.0}, log=str(log))
    worker.call("say", "hello")
    with pytest.raises(WorkerError, match=r"last words are in .*counter\.log"):
        worker.call("die")
    worker.close()
    assert log.read_text().splitlines() == ["hello", "from below"]


def test_a_process_launched_ahead_imports_and_becomes_the_worker(tmp_path, monkeypatch):
    (tmp_path / "loud.py").write_text("print('loud')")
    monkeypatch.syspath_prepend(tmp_path)
    processes.prelaunch("counter", "loud", "no_such_module")
    [(process, _)] = processes._ahead.values()
    log = tmp_path / "counter.log"
    worker = place("process", "counter", Counter, {"start": 1.0}, log=str(log))
    assert worker.call("plus", torch.tensor([2.0])).item() == 3.0
    assert worker.pid == process.pid and log.read_text() == "loud\n"
    worker.close()


def test_one_launched_ahead_that_died_is_replaced():
    processes.prelaunch("counter")
    [(process, _)] = processes._ahead.values()
    process.kill()
    process.join()
    worker = place("process", "counter", Counter, {"start": 1.0})
    assert worker.call("plus", torch.tensor([2.0])).item() == 3.0
    worker.close()


def test_those_launched_ahead_in_vain_are_let_go():
    processes.prelaunch("counter")
    [(process, _)] = processes._ahead.values()
    processes.discard_prelaunched()
    assert not process.is_alive() and not processes._ahead


def test_a_busy_worker_ends_with_a_trainer_that_is_killed():
    code = (
        "from test_execution import Counter, place\n"
        "if __name__ == '__main__':\n"
        "    worker = place('process', 'counter', Counter, {'start': 1.0})\n"
        "    worker.call('say', '')\n"
        "    print(worker.pid, flush=True)\n"
        "    worker.call('sleep', 600)\n"
    )
    trainer = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    )
    worker = next(int(line) for line in trainer.stdout if line.strip())
    trainer.kill()
    trainer.wait()
    end = time.monotonic() + 10
    while not gone(worker):
        assert time.monotonic() < end, "the worker lives on"
        time.sleep(0.05)


def gone(pid):
    """Whether nothing is left of it but its exit status, for which nobody may ask."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("given", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_threads_spin_briefly_unless_the_user_says_otherwise(given, monkeypatch):
    found = dict(given)
    monkeypatch.setattr(os, "environ", found)
    proc.spin_briefly()
    assert found == (given or {"GOMP_SPINCOUNT": proc.SPINS})
