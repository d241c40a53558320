"""Workers: results, errors with tracebacks, restarts, logs, and prelaunched processes."""

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
from counter import Counter

from esr_cli.base import process as proc
from esr_cli.execution import processes
from esr_cli.execution.worker import WorkerError, place


@pytest.fixture(params=["inline", "process"])
def worker(request):
    options = {"restarts": 1, "remember": ("set",)} if request.param == "process" else {}
    made = place(request.param, "counter", Counter, {"start": 1.0}, **options)
    yield made
    made.close()


def test_tensors_go_there_and_back(worker):
    assert worker.call("plus", torch.tensor([2.0])).item() == 3.0


def test_an_exception_in_the_worker_is_raised_here():
    worker = place("process", "counter", Counter, {"start": 1.0})
    with pytest.raises(WorkerError, match="no such thing"):
        worker.call("fail")
    assert worker.call("plus", torch.tensor([1.0])).item() == 2.0
    worker.close()


def test_a_worker_that_cannot_start_reports_why():
    worker = place("process", "counter", Counter, {"start": -1.0}, restarts=3)
    with pytest.raises(WorkerError, match="starts below zero"):
        worker.call("plus", torch.tensor([1.0]))
    worker.close()


def test_a_killed_worker_is_restarted_and_remembered_calls_are_repeated():
    messages = []
    worker = place(
        "process", "counter", Counter, {"start": 1.0},
        restarts=1, remember=("set",), warn=messages.append,
    )  # fmt: skip
    worker.call("set", torch.tensor([40.0]))
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.call("plus", torch.tensor([2.0])).item() == 42.0
    assert len(messages) == 1
    with pytest.raises(WorkerError, match="died"):
        worker.call("die")
    worker.close()


def test_finish_repeats_the_call_in_which_a_worker_died():
    worker = place("process", "counter", Counter, {"start": 1.0}, restarts=1, warn=str)
    worker.call("plus", torch.tensor([1.0]))
    worker.begin("sleep", 0.2)
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.finish() is None
    assert worker.call("plus", torch.tensor([2.0])).item() == 3.0
    worker.close()


def test_close_does_not_wait_for_a_busy_worker():
    worker = place("process", "counter", Counter, {"start": 1.0})
    worker.call("plus", torch.tensor([1.0]))
    worker.begin("sleep", 60.0)
    began = time.monotonic()
    worker.close()
    assert time.monotonic() - began < 8 and worker.pid is None


def test_settings_larger_than_the_pipe_do_not_block_start():
    worker = place("process", "counter", Counter, {"start": 1.0, "more": tuple(range(200_000))})
    began = time.monotonic()
    worker.start()
    assert not worker._sent.done() or time.monotonic() - began < 0.5
    assert worker.call("plus", torch.tensor([2.0])).item() == 3.0
    worker.close()


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_worker_runs_with_a_closed_stream(closed, tmp_path):
    code = (
        "from pathlib import Path\n"
        "import torch\n"
        "from counter import Counter\n"
        "from esr_cli.execution import processes\n"
        "from esr_cli.execution.worker import place\n"
        "if __name__ == '__main__':\n"
        "    processes.prelaunch('counter', 'json')\n"
        "    worker = place('process', 'counter', Counter, {'start': 1.0})\n"
        f"    found = worker.call('plus', torch.tensor([1.0])).item()\n"
        f"    Path({str(tmp_path / 'found')!r}).write_text(str(found))\n"
        "    worker.close()\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    here = Path(__file__).parent
    subprocess.run(
        f"{sys.executable} {script} {closed}>&-", shell=True, check=True,
        env={**os.environ, "PYTHONPATH": f"{here}:{here.parent}:{ROOT}"},
    )  # fmt: skip
    assert (tmp_path / "found").read_text() == "2.0"


def test_a_worker_ignores_sigterm():
    worker = place("process", "counter", Counter, {"start": 1.0})
    worker.call("plus", torch.tensor([1.0]))
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.call("plus", torch.tensor([1.0])).item() == 2.0
    worker.close()


def test_the_output_of_a_worker_is_in_its_log(tmp_path):
    log = tmp_path / "counter.log"
    worker = place("process", "counter", Counter, {"start": 1.0}, log=str(log))
    worker.call("say", "hello")
    with pytest.raises(WorkerError, match=r"last output is in .*counter\.log"):
        worker.call("die")
    worker.close()
    assert log.read_text().splitlines() == ["hello", "from below"]


def test_a_prelaunched_process_imports_and_becomes_the_worker(tmp_path, monkeypatch):
    (tmp_path / "loud.py").write_text("print('loud')")
    monkeypatch.syspath_prepend(tmp_path)
    processes.prelaunch("counter", "loud", "no_such_module")
    [(process, *_)] = processes._prelaunched.values()
    log = tmp_path / "counter.log"
    worker = place("process", "counter", Counter, {"start": 1.0}, log=str(log))
    assert worker.call("plus", torch.tensor([2.0])).item() == 3.0
    assert worker.pid == process.pid and log.read_text() == "loud\n"
    worker.close()


def test_a_dead_prelaunched_process_is_replaced():
    processes.prelaunch("counter")
    [(process, *_)] = processes._prelaunched.values()
    process.kill()
    process.join()
    worker = place("process", "counter", Counter, {"start": 1.0})
    assert worker.call("plus", torch.tensor([2.0])).item() == 3.0
    worker.close()


def test_unused_prelaunched_processes_are_ended():
    processes.prelaunch("counter")
    [(process, *_)] = processes._prelaunched.values()
    processes.discard_prelaunched()
    assert not process.is_alive() and not processes._prelaunched


def test_a_busy_worker_ends_if_the_trainer_is_killed():
    code = (
        "from counter import Counter\n"
        "from esr_cli.execution.worker import place\n"
        "if __name__ == '__main__':\n"
        "    worker = place('process', 'counter', Counter, {'start': 1.0})\n"
        "    worker.call('say', '')\n"
        "    print(worker.pid, flush=True)\n"
        "    worker.call('sleep', 600)\n"
    )
    trainer = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    worker = next(int(line) for line in trainer.stdout if line.strip())
    trainer.kill()
    trainer.wait()
    end = time.monotonic() + 10
    while not gone(worker):
        assert time.monotonic() < end, "the worker is still alive"
        time.sleep(0.05)


def gone(pid):
    """Whether the process has ended; a zombie that nobody has waited for counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("given", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_threads_spin_briefly_unless_the_user_has_set_it(given, monkeypatch):
    environment = dict(given)
    monkeypatch.setattr(os, "environ", environment)
    proc.spin_briefly()
    assert environment == (given or {"GOMP_SPINCOUNT": proc.SPINS})
