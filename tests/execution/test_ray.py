"""Workers as actors of Ray: what processes do, and deaths of actors and machines."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import pytest
import ray
import torch
from conftest import ROOT, SHORT, esr, free_port, launch, read, rows, wait_for_step
from counter import Counter
from ray.cluster_utils import Cluster
from test_execution import gone

from esr_cli.base import process as proc
from esr_cli.check.wire import mib_a_step
from esr_cli.execution.cluster import connect
from esr_cli.execution.packing import pack, unpack
from esr_cli.execution.restarting import WorkerError
from esr_cli.execution.seat import Seat
from esr_cli.execution.watch import Patience
from esr_cli.execution.worker import place
from esr_cli.models import outlines
from esr_cli.types import HiddenScores

SEAT = Seat("cpu", (), 1, "local", 0.25)


def worker_of(**options):
    return place("ray", "counter", Counter, {"start": 1.0}, SEAT, **options)


@pytest.fixture(scope="module")
def counter():
    """A worker that may be restarted often, and its warnings."""
    said = []
    # The processes of Ray import what they build.
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", f"{ROOT}:{Path(__file__).parent}")
        connect("local")
    worker = worker_of(restarts=9, remember=("set",), warn=said.append)
    worker.call("set", torch.tensor([40.0]))
    worker.said = said
    yield worker
    worker.close()
    ray.shutdown()


def test_tensors_of_every_kind_keep_their_bits():
    weights = {"a": torch.randn(3, 4).bfloat16(), "b": torch.tensor(7), "c": torch.zeros(0, 5)}
    weights["d"] = torch.randn(4, 6).t()
    found = unpack(pack(weights))
    for name, tensor in weights.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
    scores = HiddenScores(torch.randn(2, 3), torch.tensor([True, False]), {"x": 1.0})
    back = unpack(pack(scores))
    assert torch.equal(back.hidden_RD, scores.hidden_RD) and back.metrics == {"x": 1.0}
    assert torch.equal(back.aligned_R, scores.aligned_R) and pack(("x", 1)) == ("x", 1)
    back.hidden_RD.add_(1)  # what arrives may be written to


def test_a_killed_actor_is_remade_and_told_again(counter):
    assert counter.call("plus", torch.tensor([2.0])).item() == 42.0
    for _ in range(2):
        os.kill(pid_of(counter), signal.SIGKILL)
        assert counter.call("plus", torch.tensor([2.0])).item() == 42.0
    assert counter.said == ["the counter's actor on Ray died; restarted"] * 2
    # In the middle of a call.
    counter.begin("sleep", 1.0)
    os.kill(pid_of(counter), signal.SIGKILL)
    assert counter.finish() is None and len(counter.said) == 3


def pid_of(worker):
    """The process of the actor, which a look tells."""
    while not worker.pid:
        worker._take_output(1.0)
    return worker.pid


def test_an_error_in_an_actor_is_raised_here(counter):
    with pytest.raises(WorkerError, match="failed in fail: KeyError: 'no such thing'") as raised:
        counter.call("fail")
    assert "raise KeyError" in str(raised.value.__cause__)
    assert counter.call("plus", torch.tensor([2.0])).item() == 42.0
    with pytest.raises(WorkerError, match="starts below zero"):
        place("ray", "counter", Counter, {"start": -1.0}, SEAT).call("plus", torch.tensor([1.0]))


def test_the_output_of_an_actor_comes_to_its_log(counter, tmp_path):
    log = tmp_path / "counter.log"
    worker = worker_of(log=str(log))
    worker.call("say", "hello")
    worker.close()
    assert log.read_text().splitlines() == ["hello", "from below"]
    worker.call("say", "again")
    with pytest.raises(WorkerError, match=r"actor on Ray died; its last output is in .*\.log"):
        worker.call("die")
    worker.close()


def test_a_frozen_actor_is_noticed_and_ended(counter):
    said = []
    worker = worker_of(restarts=1, remember=("set",), warn=said.append,
                       patience=Patience(3.0, lambda method, _: 9.0))  # fmt: skip
    worker.call("set", torch.tensor([40.0]))
    pid = pid_of(worker)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    assert worker.call("plus", torch.tensor([2.0])).item() == 42.0
    assert time.monotonic() - began < 20
    assert "has been silent for" in said[0] and "and was killed; restarted" in said[1]
    while not gone(pid):
        assert time.monotonic() - began < 30
        time.sleep(0.1)
    # A call that takes too long; no restart is left.
    with pytest.raises(WorkerError, match="did not return from sleep within 9 s and was killed"):
        worker.call("sleep", 60.0)
    worker.close()


def test_closing_does_not_wait_for_a_busy_actor(counter):
    worker = worker_of()
    worker.call("plus", torch.tensor([2.0]))
    worker.begin("sleep", 60.0)
    began = time.monotonic()
    worker.close()
    assert time.monotonic() - began < 5 and not worker.ready


ON_RAY = ("execution=ray", "execution.rollouts=2", "execution.restarts=9")
RUN = ("train", *SHORT, "rollout=eager", "tracking=none", "steps=12", "run_dir=run")


def test_a_run_on_ray_ends_bit_equal_though_its_workers_die(tmp_path):
    local, far = tmp_path / "local", tmp_path / "far"
    for folder in (local, far):
        folder.mkdir()
    done = esr(*RUN, "execution=inline", cwd=local)
    assert done.returncode == 0, done.stdout + done.stderr
    process = launch(*RUN, *ON_RAY, cwd=far)
    # Both engines and the teacher, one after the other.
    wait_for_step(far / "run", 2, process)
    for step, actor in zip((2, 4, 6), actors_of(process.pid), strict=True):
        wait_for_step(far / "run", step, process)
        os.kill(actor, signal.SIGKILL)
    assert process.wait() == 0, process.stderr.read()
    log = (far / "run" / "esr.log").read_text()
    assert log.count("actor on Ray died; restarted") == 3, log
    assert "the teacher's actor" in log and "the engine" in log, log
    assert ends(far) == ends(local)
    # What went over the wire, but for repeated calls, is what the plan says, to 5 %.
    config = read(*RUN[1:], *ON_RAY)
    student, teacher = map(outlines.skeleton, (config.pair.student, config.pair.teacher))
    for role, planned in mib_a_step(config, student, [teacher], 8).items():
        sent = median(row[f"wire/{role}_mib"] for row in rows(far / "run"))
        assert sent == pytest.approx(planned, rel=0.05), role
    # A machine of a cluster dies, and another takes its place.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node, away = cluster.add_node(num_cpus=1), tmp_path / "away"
        away.mkdir()
        process = launch(*RUN, *ON_RAY, f"execution.address={cluster.address}", cwd=away)
        wait_for_step(away / "run", 4, process)
        os.kill(process.pid, signal.SIGSTOP)
        cluster.add_node(num_cpus=1)
        cluster.remove_node(node, allow_graceful=False)
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait() == 0, process.stderr.read()
        assert "actor on Ray died; restarted" in (away / "run" / "esr.log").read_text()
        assert ends(away) == ends(local)
        tight = esr(*RUN, *ON_RAY, f"execution.address={cluster.address}",
                    "execution.rollouts=4", "run_dir=tight", cwd=away)  # fmt: skip
        assert tight.returncode == 2 and not (away / "tight").exists()
        assert "5 workers need 2.5 CPUs, and of the 2 on" in tight.stderr
    finally:
        cluster.shutdown()


def ends(folder):
    """The bits of the student at the end of a run."""
    return (folder / "run" / "student" / "model.safetensors").read_bytes()


def actors_of(driver):
    """The processes of our actors below a driver, oldest first."""
    found = []
    for pid in proc.descendants(driver):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Served"):
                found.append(pid)
    return sorted(found)


def test_what_ray_cannot_give_is_said_before_a_model_loads(tmp_path):
    nobody = f"127.0.0.1:{free_port()}"
    for given, said in (
        ([f"execution.address={nobody}"], f"execution.address={nobody}: no cluster of Ray answers"),
        (["execution.address=here"], "execution.address=here: give local, auto or HOST:PORT"),
        (["execution.rollouts=40"], "41 workers need 20.5 CPUs, and of the"),
        (["execution.rollouts=0"], "execution.rollouts=0: give 1 or more"),
    ):
        done = esr(*RUN, "execution=ray", *given, cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr, (given, done.stderr)
        [_] = [line for line in done.stderr.splitlines() if "Token auth" not in line]
        assert not (tmp_path / "run").exists()
