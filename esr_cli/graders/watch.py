"""Reads the output of an untrusted process, and decides when it must be killed.

Limits are CPU time, of the process and all its descendants: on a loaded machine a program runs
later, not longer, and its verdict must not depend on that. A program that waits uses no CPU time,
so a generous limit by the clock bounds it.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time

from esr_cli.base.process import cpu_seconds

# The clock's limit, as a multiple of the limit on CPU time.
WALL_FACTOR = 10.0
# The longest time between two looks at a silent process, and the shortest.
CHECK_S, SHORTEST_CHECK_S = 1.0, 0.02
SMALL_PIECE_BYTES, PAUSE_S = 1 << 14, 0.005


class Stopwatch:
    """A limit of `seconds` of CPU time of a process, and of `WALL_FACTOR` times that by the clock.

    It starts at once, and again at `restart`.
    """

    def __init__(self, pid: int, seconds: float) -> None:
        self._pid, self._seconds = pid, seconds
        self.restart(cpu_seconds(pid))

    def restart(self, cpu_s: float) -> None:
        """Starts again, at `cpu_s` CPU seconds of the process."""
        self._end_s = cpu_s + self._seconds
        self._deadline = time.monotonic() + WALL_FACTOR * self._seconds

    def left(self, cpu_s: float) -> float:
        """Seconds until the next look, 0 if the limit is reached, at `cpu_s` CPU seconds.

        A process with several threads can reach it earlier.
        """
        left = min(self._end_s - cpu_s, self._deadline - time.monotonic())
        return max(left, SHORTEST_CHECK_S) if left > 0 else 0.0


def read(
    process: subprocess.Popen[bytes], cpu_s: float, silence_s: float, output_bytes: int
) -> tuple[bytes, str]:
    """Returns the standard output until the process ends or a limit, and which (see `Outcome`)."""
    assert process.stdout is not None
    output = bytearray()
    total, silence = Stopwatch(process.pid, cpu_s), Stopwatch(process.pid, silence_s)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            used = cpu_seconds(process.pid)
            left = {"time": total.left(used), "silence": silence.left(used)}
            for end, seconds in left.items():
                if not seconds:
                    return bytes(output), end
            if not selector.select(min(CHECK_S, *left.values())):
                # A child that bwrap had not yet tied to its life may hold the pipe open.
                if _has_ended(process):
                    return bytes(output), "exit"
                continue
            piece = os.read(process.stdout.fileno(), 1 << 16)
            if not piece:
                return bytes(output), "exit"
            output += piece
            silence.restart(used)
            if len(output) > output_bytes:
                return bytes(output[:output_bytes]), "output"
            if len(piece) < SMALL_PIECE_BYTES:
                # Otherwise a thousand short lines would wake this thread a thousand times.
                time.sleep(PAUSE_S)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has ended, without reaping it."""
    try:
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process.pid, how) is not None
    except ChildProcessError:
        return True
