"""The watch on whole responses in a run whose rollouts are cut: when it is due, what it costs."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from esr_cli.assembly.data import Task
from esr_cli.assembly.objective import cuts, lengths_of
from esr_cli.assembly.watcher import Watcher
from esr_cli.base import files
from esr_cli.base.words import counted
from esr_cli.config import TrainConfig
from esr_cli.runs.guard import FEWEST, Guard
from esr_cli.runs.tracking import Tracker
from esr_cli.train.resuming import WatchStop
from esr_cli.types import Engine, Sampling

FILE = "watch.jsonl"
# Steps after the first watch whose time predicts when the next one follows.
TIMED = 3


class Watching:
    """Takes the watches of a run, logs them, and raises their alarms.

    Which steps have a watch depends on the time that steps take, unless `watch.share` is null;
    what is trained does not, as far as kernels of an engine that caches prefixes round alike.
    Records in the run folder are taken up by a resumed run.
    """

    def __init__(
        self, config: TrainConfig, folder: Path, watcher: Watcher, tracker: Tracker
    ) -> None:  # fmt: skip
        self.config, self.folder, self._watcher, self._tracker = config, folder, watcher, tracker
        self.lengths = lengths_of(config)
        metrics, watches = (files.read_rows(folder / name) for name in ("metrics.jsonl", FILE))
        self.guard = Guard(config.alarms)
        self.guard.replay(metrics, watches, self.lengths.n_at(0))
        self._seconds = [row["time/watch_s"] for row in watches]
        self._last = watches[-1]["step"] if watches else None
        self._elapsed = sum(row["time/step_s"] for row in metrics)
        self._steps = len(metrics)

    def due(self, step: int) -> bool:
        """Whether a watch follows the first `step` updates.

        Raises `WatchStop` if `watch.stop` and the records of a resumed run end with an alarm.
        """
        every, share = self.config.watch.every, self.config.watch.share
        self._need_none(self.guard.standing)
        if self._last is None:
            return True
        if step - self._last < int(every or 0):
            return False
        cost = sum(self._seconds) + self._seconds[-1]
        return share is None or cost <= share * self._elapsed

    def __call__(self, engine: Engine, step: int) -> None:
        """Takes a watch of the weights that the engine holds, those after `step` updates.

        Raises `WatchStop` at an alarm if `watch.stop`.
        """
        began = time.perf_counter()
        row = self._watcher(engine, step)
        self._last = step
        self._seconds.append(time.perf_counter() - began)
        row["time/watch_s"] = self._seconds[-1]
        self._tracker.log_watch(row)
        if message := self.guard.after_watch(row, self.lengths.n_at(step)):
            self._tracker.alarm(message)
            self._need_none(message)

    def _need_none(self, alarm: str) -> None:
        if alarm and self.config.watch.stop:
            raise WatchStop(alarm, self.guard.since)

    def after_step(self, metrics: dict[str, float]) -> None:
        """Notes the KL and the time of a step, and says if no alarm can be raised in the run."""
        self.guard.after_step(metrics)
        self._elapsed += metrics["time/step_s"]
        self._steps += 1
        share, steps = self.config.watch.share, self.config.steps
        if self._steps != TIMED or len(self._seconds) != 1:
            return
        earliest = FEWEST * int(self.config.watch.every or 0)
        if share is not None:
            needed = (1 + FEWEST) * self._seconds[0] / share
            left = (needed - self._elapsed) / ((self._elapsed - self._seconds[0]) / TIMED)
            earliest = max(earliest, TIMED + math.ceil(left))
        if earliest >= steps:
            bound = "null" if share is None else f"{share:g}"
            self._tracker.note(
                f"no alarm on whole responses in this run of {counted(steps, 'step')}: it needs "
                f"{1 + FEWEST} watches, which watch.every={self.config.watch.every} and "
                f"watch.share={bound} allow by about step {earliest} (the first watch took "
                f"{self._seconds[0]:.1f} s); lower the one or raise the other"
            )


def begin(
    config: TrainConfig, folder: Path, sampling: Sampling, task: Task, tokenizer: Any,
    tracker: Tracker, stack: ExitStack,
) -> Watching | None:  # fmt: skip
    """The watch of a run whose records are cut back to its start; None if it needs none."""
    if not config.watch.every or not cuts(config):
        return None
    watcher = Watcher(config, task, tokenizer, sampling)
    stack.callback(watcher.close)
    return Watching(config, folder, watcher, tracker)


def summary(folder: Path, steps_s: float) -> dict[str, Any]:
    """The number of watches, their seconds, and their share of `steps_s`, the time of all steps.

    Empty if the run has none.
    """
    rows = files.read_rows(folder / FILE)
    if not rows:
        return {}
    seconds = sum(row["time/watch_s"] for row in rows)
    shown = ("step", "responses", "ended", "ended_low", "ended_high", "repeats", "length_mean")
    first, last = ({key: rows[at][key] for key in shown} for at in (0, -1))
    return {
        "watches": len(rows), "seconds": seconds, "share": seconds / steps_s,
        "first": first, "last": last,
    }  # fmt: skip
