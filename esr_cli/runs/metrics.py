"""Phase times, interrupts, and the metrics of a step's rollouts."""

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
    """Times the phases of one step; phases named at the start are always reported."""

    def __init__(self, *phases: str) -> None:
        self._began, self._spent = time.perf_counter(), dict.fromkeys(phases, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times the block, including its work on the device."""
        began = time.perf_counter()
        yield
        process.synchronize()
        self._spent[name] = self._spent.get(name, 0.0) + time.perf_counter() - began

    def times(self) -> dict[str, float]:
        """`time/<phase>_s` for each phase, and `time/step_s` for the time since the start."""
        phases = {f"time/{name}_s": seconds for name, seconds in self._spent.items()}
        return phases | {"time/step_s": time.perf_counter() - self._began}


def gpu_name() -> str:
    """The name of the trainer's GPU, empty without one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def rollout_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Tokens, mean length, and the shares that ended, were truncated, and repeat themselves."""
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
    """Mean reverse KL by response position, with the number of responses that have a value there.

    The mean is null at a position without values.
    """
    longest = max(map(len, kl_by_rollout))
    columns = [
        [row[t] for row in kl_by_rollout if t < len(row) and row[t] == row[t]]
        for t in range(longest)
    ]
    means = [round(sum(column) / len(column), 6) if column else None for column in columns]
    return {"kl": means, "count": [len(column) for column in columns]}


class Interrupts:
    """Handles Ctrl-C and SIGTERM: raises KeyboardInterrupt, or only records it while `waiting`.

    `signal_name` is the first signal; a second one exits at once. A library may swallow the
    exception inside an import or an attribute lookup: call `check` after long operations.
    """

    def __init__(self) -> None:
        self.signal_name = ""
        self.waiting = False

    def check(self) -> None:
        """Raises KeyboardInterrupt if a signal was received."""
        if self.signal_name:
            raise KeyboardInterrupt

    def _handle(self, number: int, _: Any) -> None:
        if self.signal_name:
            os._exit(128 + number)
        self.signal_name = signal.Signals(number).name
        if not self.waiting:
            raise KeyboardInterrupt
        print(
            f"{self.signal_name}: finishing the step, then saving (again to exit at once)",
            flush=True,
        )

    def __enter__(self) -> Interrupts:
        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._handle) for number in signals}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
