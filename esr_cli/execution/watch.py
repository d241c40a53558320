"""Watches a worker during a wait: notices a process that shows no sign of life, and a call that is
overdue.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from esr_cli.base import process as proc

# Seconds between two looks at a worker. A call that returns earlier does not wait for the look.
TICK_S = 1.0
# Seconds of silence after which a warning is due.
WARN_S = 30.0


def _no_limit(method: str, arguments: tuple[Any, ...]) -> float:
    return math.inf


@dataclass(frozen=True)
class Patience:
    """How long a worker may be silent, and how long a call may take, both in seconds.

    `limit_s(method, arguments)` is the limit of a call; `start` is the building of the worker.
    """

    silence_s: float = 120.0
    limit_s: Callable[[str, tuple[Any, ...]], float] = _no_limit


def process_signs(pid: int, beats: Any) -> Callable[[], Any]:
    """What reads the signs of life of a process: the beats of its own thread, and processor time.

    A process that is stopped, or has a stopped descendant, shows none.
    """

    def read() -> tuple[int, int] | None:
        if any(map(proc.is_stopped, [pid, *proc.descendants(pid)])):
            return None
        return beats.value, proc.cpu_ticks(pid)

    return read


class Watch:
    """Watches the worker `who` during one wait for `method`.

    `signs` reads its signs of life: anything that changes while it lives, None if it is stopped.
    """

    def __init__(
        self, who: str, signs: Callable[[], Any], method: str, silence_s: float, limit_s: float,
        warn: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.who, self.method, self._read = who, method, signs
        self.silence_s, self.limit_s, self.warn = silence_s, limit_s, warn
        self.silent_s = self.waited_s = 0.0
        self._warned_silent = self._warned_late = False
        self._last, self._signs = time.monotonic(), self._read()

    def look(self) -> str:
        """Call it every `TICK_S`. Returns why the worker must be killed, or an empty string.

        Only time in which this process ran counts, so a machine that slept, or a process group
        that was stopped as a whole, kills no worker.
        """
        now = time.monotonic()
        passed_s, self._last = min(now - self._last, 2 * TICK_S), now
        self.waited_s += passed_s
        before, self._signs = self._signs, self._read()
        if self._signs is not None and self._signs != before:
            if self._warned_silent:
                self.warn(f"{self.who} is alive again after {self.silent_s:.0f} s")
            self.silent_s, self._warned_silent = 0.0, False
        else:
            self.silent_s += passed_s
        if self.silent_s >= self.silence_s:
            return f"was silent for {self.silent_s:.0f} s in {self.method}"
        if self.waited_s >= self.limit_s:
            return f"did not return from {self.method} within {self.limit_s:.0f} s"
        self._warn()
        return ""

    def _warn(self) -> None:
        if self.silent_s >= min(WARN_S, self.silence_s / 4) and not self._warned_silent:
            self._warned_silent = True
            stopped = " (it or a process of its own is stopped)" if self._signs is None else ""
            self.warn(
                f"{self.who} has been silent for {self.silent_s:.0f} s in {self.method}{stopped}; "
                + _killed_after(self.silence_s)
            )
        if self.waited_s >= self.limit_s / 2 and not self._warned_late:
            self._warned_late = True
            self.warn(
                f"{self.who} has been in {self.method} for {self.waited_s:.0f} s, much longer than "
                f"expected; {_killed_after(self.limit_s)} (execution.patience raises that)"
            )


def _killed_after(seconds: float) -> str:
    return f"killed after {seconds:.0f} s" if seconds < math.inf else "never killed"
