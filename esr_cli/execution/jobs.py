"""An `esr` command as a job in a process of its own: what it was, how it ended, and why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.base import process as proc

PARENT = "ESR_PARENT"
# Jobs that run now, in whichever thread; signals that asked for their end.
LIVE: set[subprocess.Popen[bytes]] = set()
STOPPED: list[int] = []


@dataclass(frozen=True)
class Ended:
    """A job that is over: its exit status, its wall time, and the reason of a failure in a line."""

    status: int
    seconds: float
    reason: str = ""


def run(command: str, arguments: Sequence[str], log: Path, threads: int | None = None) -> Ended:
    """Runs `esr COMMAND ARGUMENTS` to its end; what it prints goes to the file `log`.

    It dies with this process, whatever kills that one. Ctrl-C does not reach it by itself: see
    `interrupted`; once that has come, KeyboardInterrupt is raised.
    """
    if STOPPED:
        raise KeyboardInterrupt
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
        LIVE.add(process)
        try:
            if STOPPED:
                process.kill()
            status = process.wait()
        finally:
            LIVE.discard(process)
    if STOPPED:
        raise KeyboardInterrupt
    seconds = time.perf_counter() - began
    return Ended(status, seconds, _reason(log.read_text(errors="replace"), status))


@contextmanager
def interrupted() -> Iterator[None]:
    """Around jobs: Ctrl-C and SIGTERM are handed on to those that run, which save and end.

    A second one ends them at once. KeyboardInterrupt is raised when they have ended, at once where
    none runs in this process.
    """

    def hand_on(number: int, _: Any) -> None:
        STOPPED.append(number)
        if not LIVE:
            raise KeyboardInterrupt
        for process in LIVE.copy():
            process.send_signal(signal.SIGINT if len(STOPPED) == 1 else signal.SIGKILL)

    before = {n: signal.signal(n, hand_on) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if STOPPED:
        raise KeyboardInterrupt


def die_with_parent() -> None:
    """Called first in a job: it ends with the process that ran it; no job otherwise."""
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        proc.end_with(int(parent))


def text(value: str) -> str:
    """A value quoted for a command line, whatever it holds."""
    escaped = value.replace("'", "\\'")
    return f"'{escaped}'"


def _reason(text: str, status: int) -> str:
    if status == 0:
        return ""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    _, said, rest = text.rpartition("\nesr: ") if "\nesr: " in text else text.rpartition("esr: ")
    lines = [line.strip() for line in rest.splitlines() if line.strip()]
    if not lines:
        return f"exit status {status}"
    if not said:
        return lines[-1]
    # A worker's traceback: what matters is its last line, before the one on how to go on.
    ends = [line for line in lines[1:] if "esr train resume=" not in line]
    return f"{lines[0]} {ends[-1]}" if lines[0].endswith(":") and ends else lines[0]
