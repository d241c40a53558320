"""Ray on the nodes of a SLURM job, without SLURM: its variables are set here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from test_execution import gone

from esr_cli.base import process as proc
from esr_cli.config import ConfigError, ExecutionConfig
from esr_cli.execution import slurm

NODE = """
import signal
import sys
from pathlib import Path
from esr_cli.config import ExecutionConfig
from esr_cli.execution import slurm

for number in (signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, lambda number, _: print(signal.Signals(number).name, flush=True))
task, execution, stem = slurm.task(), ExecutionConfig(device="cpu"), Path("000")
if not task.first:
    slurm.join(task, execution, stem)
    sys.exit()
with slurm.head(task, execution, stem):
    print("up", flush=True)
    sys.stdin.readline()
    import ray
    ray.init(task.address, log_to_driver=False)
    print(sum(node["Alive"] for node in ray.nodes()), "alive", flush=True)
    # A process that is still in the cluster when it ends is killed by Ray a minute later.
    ray.shutdown()
"""


def variables(rank, nodes=2):
    """What SLURM and submitit set for a task."""
    return {
        "SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_NUM_NODES": str(nodes), "SLURM_PROCID": str(rank),
        "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1", "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_CPUS_PER_TASK": "1",
    }  # fmt: skip


@pytest.fixture
def on_node(monkeypatch):
    """Sets the variables of a task."""
    return lambda *of: [monkeypatch.setenv(*pair) for pair in variables(*of).items()]


def test_a_process_outside_a_job_of_several_nodes_is_no_task(monkeypatch, on_node):
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    assert slurm.task() is None
    on_node(0, 1)
    assert slurm.task() is None
    on_node(1)
    assert not slurm.task().first
    # In an allocation, but not launched by a sweep.
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    assert slurm.task() is None


def test_two_jobs_on_a_node_share_no_port(monkeypatch, on_node):
    on_node(0)
    ports = set()
    for job in range(999, 1009):
        monkeypatch.setenv("SLURM_JOB_ID", str(job))
        command = slurm.start_command(slurm.task())
        ports |= {each for each in command if "port" in each and not each.endswith("=0")}
    assert len(ports) == 20 and all(1024 < int(each.partition("=")[2]) < 32768 for each in ports)


@pytest.mark.parametrize(("rank", "execution", "seen"), [
    (0, {}, "1,2,3"),
    (0, {"device": "cuda:2"}, "0,1,3"),
    (0, {"device": "cpu"}, "0,1,2,3"),
    # Ranks of the trainer are Ray's workers as well.
    (0, {"trainers": 2, "engine": "ray"}, "0,1,2,3"),
    (1, {}, "0,1,2,3"),
])  # fmt: skip
def test_ray_does_not_see_the_gpu_of_the_trainer(rank, execution, seen, monkeypatch, on_node):
    on_node(rank)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert slurm.visible_to_ray(slurm.task(), ExecutionConfig(**execution)) == seen


def test_the_nodes_of_a_job_are_one_cluster_until_the_first_one_ends_it(tmp_path):
    pytest.importorskip("ray")
    first, other = (
        subprocess.Popen(
            [sys.executable, "-c", NODE], cwd=tmp_path, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT), **variables(rank)},
        )
        for rank in (0, 1)
    )  # fmt: skip
    assert first.stdout.readline() == "up\n"
    # SLURM sends signals to all processes of a job; only the first task may act on them.
    started = [*proc.descendants(first.pid), *proc.descendants(other.pid)]
    assert len(started) > 6
    for number in (signal.SIGTERM, signal.SIGUSR2):
        for pid in [*started, other.pid, first.pid]:
            os.kill(pid, number)
        assert first.stdout.readline() == f"{number.name}\n"
    time.sleep(2)
    assert other.poll() is None and not any(gone(pid) for pid in started)
    out, _ = first.communicate("\n", timeout=120)
    assert out == "2 alive\n" and first.returncode == 0, out
    # The others end by themselves, and never see the signals.
    seen, _ = other.communicate(timeout=120)
    assert seen == "" and other.returncode == 0
    assert all(gone(pid) for pid in started)
    assert not (tmp_path / "000.token").exists()


def test_a_cluster_that_does_not_start_is_a_line(monkeypatch, tmp_path, on_node):
    on_node(1)
    monkeypatch.setattr(slurm, "START_S", 0.0)
    with pytest.raises(ConfigError, match=r"the first node has not started Ray .*000-node1\.log"):
        slurm.join(slurm.task(), ExecutionConfig(), tmp_path / "000")
