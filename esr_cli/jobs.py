"""An `esr` command as a job in a process of its own: what it was, how it ended, and why."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PARENT = "ESR_PARENT"
SET_PARENT_DEATH_SIGNAL = 1


@dataclass(frozen=True)
class Ended:
    """A job that is over: its exit status, its wall time, and the reason of a failure in a line."""

    status: int
    seconds: float
    reason: str = ""


def run(command: str, arguments: Sequence[str], log: Path, threads: int | None = None) -> Ended:
    """Runs `esr COMMAND ARGUMENTS` to its end; what it prints goes to the file `log`.

    It dies with this process, whatever kills that one. Ctrl-C here is handed on: it is waited for
    while it saves (again to end it at once), then KeyboardInterrupt is raised.
    """
    environment = {**os.environ, PARENT: str(os.getpid())}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    began = time.perf_counter()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "esr_cli.cli", command, *arguments],
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment,
            # The terminal's Ctrl-C would reach it beside ours, and two mean at once.
            start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            try:
                process.wait()
            except KeyboardInterrupt:
                process.kill()
            raise
    seconds = time.perf_counter() - began
    return Ended(status, seconds, _reason(log.read_text(errors="replace"), status))


def die_with_parent() -> None:
    """Called first in a job: the kernel kills it when the process that started it is gone.

    Where the kernel knows no such thing (it is Linux's), a job outlives a parent that was killed.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    # It may have gone before the kernel was asked.
    if os.getppid() != int(parent):
        os._exit(1)


def _reason(text: str, status: int) -> str:
    if status == 0:
        return ""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    _, said, rest = text.rpartition("\nesr: ") if "\nesr: " in text else text.rpartition("esr: ")
    lines = [line.strip() for line in rest.splitlines() if line.strip()]
    if not lines:
        return f"exit status {status}"
    # A worker's traceback: what matters is its last line, before the one on how to go on.
    ends = [line for line in lines[1:] if "esr train resume=" not in line]
    return f"{lines[0]} {ends[-1]}" if said and lines[0].endswith(":") and ends else lines[0]
