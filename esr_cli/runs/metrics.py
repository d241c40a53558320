"""Times, memory, interrupts, and the figures of a step's rollouts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from esr_cli.base import process
from esr_cli.base.statistics import repeats
from esr_cli.types import Rollout


class Clock:
    """Seconds by phase of one step; those named at the start are told even if they never come."""

    def __init__(self, *phases: str) -> None:
        self._began, self._spent = time.perf_counter(), dict.fromkeys(phases, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times what runs inside, the device's work included."""
        began = time.perf_counter()
        yield
        process.synchronize()
        self._spent[name] = self._spent.get(name, 0.0) + time.perf_counter() - began

    def times(self) -> dict[str, float]:
        """`time/<phase>_s` for every phase, and `time/step_s` for all since the start."""
        phases = {f"time/{name}_s": seconds for name, seconds in self._spent.items()}
        return phases | {"time/step_s": time.perf_counter() - self._began}


def gpu_name() -> str:
    """The trainer's GPU, empty without one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def rollout_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Tokens, mean length, and the shares that ended, were cut, and repeat themselves."""
    lengths = [len(rollout.response_ids) for rollout in rollouts]
    ended = sum(rollout.finish == "stop" for rollout in rollouts) / len(rollouts)
    looping = sum(repeats(rollout.response_ids) for rollout in rollouts) / len(rollouts)
    return {
        "rollout/tokens": float(sum(lengths)),
        "rollout/length_mean": sum(lengths) / len(lengths),
        "rollout/eos_rate": ended,
        "rollout/clip_rate": 1 - ended,
        "rollout/repeat_rate": looping,
    }


def kl_profile(kl_by_rollout: Sequence[Sequence[float]]) -> dict[str, list[Any]]:
    """Mean reverse KL by response position, with how many responses have one there.

    A position at which none has is null.
    """
    longest = max(map(len, kl_by_rollout))
    columns = [
        [row[t] for row in kl_by_rollout if t < len(row) and row[t] == row[t]]
        for t in range(longest)
    ]
    means = [round(sum(column) / len(column), 6) if column else None for column in columns]
    return {"kl": means, "count": [len(column) for column in columns]}


class Interrupts:
    """Ctrl-C and SIGTERM: they raise at once, or only note themselves while `waiting`.

    `came` names the first one; a second leaves at once. What is raised may be swallowed, since
    libraries clear errors inside an import or an attribute lookup: ask `came` after long ways.
    """

    def __init__(self) -> None:
        self.came = ""
        self.waiting = False

    def check(self) -> None:
        """Raises KeyboardInterrupt where one came."""
        if self.came:
            raise KeyboardInterrupt

    def _note(self, number: int, _: Any) -> None:
        if self.came:
            os._exit(128 + number)
        self.came = signal.Signals(number).name
        if not self.waiting:
            raise KeyboardInterrupt
        print(f"{self.came}: finishing the step, then saving (again to leave at once)", flush=True)

    def __enter__(self) -> Interrupts:
        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._note) for number in signals}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
