"""Ray on the nodes of a SLURM job: a task a node starts it there, and the first one runs the run.

`ray symmetric-run` does the same, but it cannot pass a signal on so that the run saves, it stops
every Ray of the user's on a node, and it refuses a node on which one runs.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from esr_cli.base import process as proc
from esr_cli.config import ConfigError, ExecutionConfig
from esr_cli.execution import jobs
from esr_cli.execution.seat import VISIBLE

# Seconds for Ray to start on all nodes, between two looks, and for the head to answer one.
START_S, LOOK_S, ANSWER_S = 180.0, 1.0, 5.0
# Looks in a row at which the head does not answer, after which its cluster has ended.
MOST_SILENT = 3
# Below the ports that Linux hands out. Two for each of 6,000 jobs, whose numbers are consecutive.
FIRST_PORT, PORTS_OF = 20_000, 6_000


@dataclass(frozen=True)
class Task:
    """A task of a SLURM job with one task on each of `nodes` nodes; `rank` 0 is the first.

    `address` is HOST:PORT of the job's Ray cluster, on the first node.
    """

    nodes: int
    rank: int
    address: str

    @property
    def first(self) -> bool:
        """Whether this task runs the run."""
        return self.rank == 0


def task() -> Task | None:
    """The task that this process is, if a sweep launched it as one of a job of several nodes."""
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if not jobs.in_slurm() or nodes == 1:
        return None
    # Of srun, which the job's script starts on the first node.
    host = os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    return Task(nodes, int(os.environ["SLURM_PROCID"]), f"{host}:{_port()}")


def _port() -> int:
    """A port that no other job on the node uses; the next one is for Ray's clients."""
    return FIRST_PORT + 2 * (int(os.environ["SLURM_JOB_ID"]) % PORTS_OF)


def start_command(task: Task) -> list[str]:
    """The command that starts Ray on the task's node; it ends when Ray does."""
    host, _, port = task.address.rpartition(":")
    joins = [f"--address={task.address}"]
    leads = [
        "--head", f"--node-ip-address={host}", f"--port={port}", "--include-dashboard=false",
        f"--ray-client-server-port={int(port) + 1}",
    ]  # fmt: skip
    cpus = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
    return [
        sys.executable, "-m", "ray.scripts.scripts", "start", *(leads if task.first else joins),
        *([f"--num-cpus={cpus}"] if cpus else []), "--block", "--disable-usage-stats",
        # Any free ports: the defaults are the same for two jobs on a node.
        "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0",
    ]  # fmt: skip


def trainer_gpu(execution: ExecutionConfig) -> int | None:
    """The number of the GPU of the first node on which the run trains, None if it is Ray's."""
    far = execution.trainers > 1 and execution.engine == "ray"
    if far or execution.device == "cpu":
        return None
    return int(execution.device.partition(":")[2] or 0)


def visible_to_ray(task: Task, execution: ExecutionConfig) -> str | None:
    """What Ray gets as CUDA_VISIBLE_DEVICES: on the first node, all GPUs but the trainer's.

    None if SLURM has set no value.
    """
    seen, hidden = os.environ.get(VISIBLE), trainer_gpu(execution)
    if seen is None or not task.first or hidden is None:
        return seen
    return ",".join(name for at, name in enumerate(seen.split(",")) if at != hidden)


@contextmanager
def head(task: Task, execution: ExecutionConfig, stem: Path) -> Iterator[None]:
    """Ray on all nodes of the job; it ends with the context.

    Its output is in files that begin with `stem`, in a folder that all nodes share. Raises
    `ConfigError` if Ray does not start, or if a node does not join.
    """
    token = _token(stem)
    token.unlink(missing_ok=True)
    with open(os.open(token, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    try:
        with _ray(task, execution, stem) as (process, log):
            end = time.monotonic() + START_S
            _wait(lambda: _answers(task.address), process, end, log, "Ray has not started")
            _wait_for_nodes(task, process, end, log)
            yield
    finally:
        token.unlink(missing_ok=True)


def join(task: Task, execution: ExecutionConfig, stem: Path) -> None:
    """Takes part in the job's cluster until the first node ends it, whatever signals come.

    Raises `ConfigError` if there is no cluster to join; see `head` for `stem`.
    """
    end, failure = time.monotonic() + START_S, "the first node has not started Ray"
    _wait(lambda: _answers(task.address), None, end, _log(task, stem), failure)
    # The first node's task handles the signals, and ends the cluster when the run has saved.
    with jobs.shielded(), _ray(task, execution, stem) as (process, _):
        silent = 0
        while process.poll() is None and silent < MOST_SILENT:
            time.sleep(LOOK_S)
            silent = 0 if _answers(task.address) else silent + 1
        for number in jobs.SENT_TO_ALL:
            # To ignore a signal drops it if it has come already.
            signal.signal(number, signal.signal(number, signal.SIG_IGN))


@contextmanager
def _ray(
    task: Task, execution: ExecutionConfig, stem: Path
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Ray on this node, its process and its log."""
    # The file is readable for its owner alone. A run that is started later reads it as well.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(_token(stem).resolve())}
    visible, log = visible_to_ray(task, execution), _log(task, stem)
    environment = {**os.environ, **({} if visible is None else {VISIBLE: visible})}
    with log.open("w") as file, jobs.shielded():
        process = subprocess.Popen(
            start_command(task), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        yield process, log
    finally:
        # Not `ray stop`, which ends all that runs on the node.
        proc.kill_tree(process.pid)
        process.wait()


def _log(task: Task, stem: Path) -> Path:
    return stem.with_name(f"{stem.name}-node{task.rank}.log")


def _token(stem: Path) -> Path:
    """The file of what every process must show to Ray."""
    return stem.with_name(f"{stem.name}.token")


def _wait(
    ready: Callable[[], bool], process: subprocess.Popen[bytes] | None, end: float, log: Path,
    failure: str,
) -> None:  # fmt: skip
    """Waits until `ready`; raises `ConfigError` at the time `end`, or if `process` has ended."""
    while not ready():
        if time.monotonic() > end or (process is not None and process.poll() is not None):
            raise ConfigError(f"execution=ray: {failure} ({socket.gethostname()}); see {log}")
        time.sleep(LOOK_S)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError):
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
        return True
    return False


def _wait_for_nodes(task: Task, process: subprocess.Popen[bytes], end: float, log: Path) -> None:
    import ray

    from esr_cli.execution import cluster

    def joined() -> int:
        return sum(node["Alive"] for node in ray.nodes())

    with jobs.shielded():
        cluster.connect(task.address)
        try:
            failure = f"not all of {task.nodes} nodes have joined Ray"
            _wait(lambda: joined() == task.nodes, process, end, log, failure)
        finally:
            ray.shutdown()
            # Ray has put the default in place of our handler, behind the back of Python.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
