"""Runs an `esr` command as a job in a separate process; reports its exit status and error."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.base import process as proc

PARENT = "ESR_PARENT"
# Jobs now running, from any thread, and the stop signals received so far.
LIVE: set[subprocess.Popen[bytes]] = set()
STOPPED: list[int] = []
# SLURM sends these to all processes of a job: SIGTERM to end or preempt it, and SIGUSR2, which
# submitit asks for, before the time limit.
SENT_TO_ALL = (signal.SIGTERM, signal.SIGUSR2)
# Seconds between two looks at a job, and until a stopped one is reported.
LOOK_S, WARN_S = 1.0, 30.0


@dataclass(frozen=True)
class Ended:
    """A finished job: its exit status, its wall time, and the reason of a failure in one line."""

    status: int
    seconds: float
    reason: str = ""


def run(command: str, arguments: Sequence[str], log: Path, threads: int | None = None) -> Ended:
    """Runs `esr COMMAND ARGUMENTS` to its end, with its output in the file `log`.

    The job dies with this process. Ctrl-C does not reach it directly; see `interrupted`. Raises
    KeyboardInterrupt after an interrupt.
    """
    if STOPPED:
        raise KeyboardInterrupt
    environment = {**os.environ, PARENT: str(os.getpid())}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    began = time.perf_counter()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file, shielded():
        process = subprocess.Popen(
            [sys.executable, "-m", "esr_cli.cli", command, *arguments],
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment,
            # Else it would get Ctrl-C from the terminal and from us, and two stop it at once.
            start_new_session=True,
        )  # fmt: skip
        LIVE.add(process)
    try:
        if STOPPED:
            process.kill()
        status = _wait(process, command)
    finally:
        LIVE.discard(process)
    if STOPPED:
        raise KeyboardInterrupt
    seconds = time.perf_counter() - began
    return Ended(status, seconds, _reason(log.read_text(errors="replace"), status))


def _wait(process: subprocess.Popen[bytes], command: str) -> int:
    """Waits for a job and returns its status; reports a job that somebody has stopped."""
    stopped_s = 0.0
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(LOOK_S)
        stopped_s = stopped_s + LOOK_S if proc.is_stopped(process.pid) else 0.0
        if WARN_S <= stopped_s < WARN_S + LOOK_S:
            pid = process.pid
            print(
                f"esr {command} (pid {pid}) is stopped; kill -CONT {pid} lets it go on", flush=True
            )


def in_slurm() -> bool:
    """Whether this process is a SLURM job that a sweep has launched."""
    return os.environ.get("SUBMITIT_EXECUTOR") == "slurm"


@contextmanager
def shielded() -> Iterator[None]:
    """In a SLURM job, a context that blocks what SLURM sends to all processes of the job.

    Processes that are started in it inherit that. So workers and Ray live until the run has saved,
    and the run gets only the signal that `interrupted` forwards: a second one would kill it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SENT_TO_ALL if in_slurm() else ())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def interrupted() -> Iterator[None]:
    """A context for jobs: forwards Ctrl-C and SIGTERM to running jobs, which save and end.

    A second signal kills them. Raises KeyboardInterrupt when they have ended, or at once if none
    is running in this process.

    In a SLURM job, SIGUSR2 does the same, after which submitit queues the job again if it may; and
    only SLURM kills, as it sends several signals of its own.
    """

    def forward(number: int, _: Any) -> None:
        """Notes the signal; has the running jobs save and end, or kills them at the second."""
        STOPPED.append(number)
        if not LIVE:
            raise KeyboardInterrupt
        for process in LIVE.copy():
            if len(STOPPED) == 1:
                process.send_signal(signal.SIGINT)
            elif not in_slurm():
                process.kill()

    numbers = {signal.SIGINT, signal.SIGTERM, *(SENT_TO_ALL if in_slurm() else ())}
    before = {n: signal.signal(n, forward) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        requeue = before.get(signal.SIGUSR2)
        if signal.SIGUSR2 in STOPPED and callable(requeue):
            requeue(signal.SIGUSR2, None)
    if STOPPED:
        raise KeyboardInterrupt


def die_with_parent() -> None:
    """Has this process end with the one that ran it, if it is a job; call it first in a job."""
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        proc.end_with(int(parent))


def text(value: str) -> str:
    """A value quoted for a Hydra command line."""
    # Backslashes before a quote, and the last ones, would escape it.
    escaped = re.sub(r"(\\*)('|$)", lambda end: 2 * end[1] + end[2].replace("'", "\\'"), value)
    return f"'{escaped}'"


def _reason(text: str, status: int) -> str:
    if status == 0:
        return ""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    marker = "\nesr: " if "\nesr: " in text else "esr: "
    _, error_line, rest = text.rpartition(marker)
    lines = [line.strip() for line in rest.splitlines() if line.strip()]
    if not lines:
        return f"exit status {status}"
    if not error_line:
        return lines[-1]
    return lines[0].partition("; the traceback is in ")[0]
