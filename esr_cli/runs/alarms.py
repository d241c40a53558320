"""Alarms: what of a run's own figures asks for a look, and what people do about it."""

from __future__ import annotations

import math
from collections import deque
from itertools import groupby
from statistics import fmean
from typing import Any

from esr_cli.base.files import Rows, headlines
from esr_cli.config import AlarmsConfig

REMEDIES = {
    "repeats": "lower tune.learning_rate, shorten rollout_len, or go back to an earlier checkpoint",
    "endless": "check that pair.stop_tokens names how responses end, or shorten rollout_len",
    "longer": "lower tune.learning_rate, or shorten rollout_len",
    "falls": "stop here and take the best checkpoint (esr eval run=… checkpoints=all), or lower "
    "tune.learning_rate",
}
# An alarm is over only when its figure is well inside the limit, lest it flutter.
CALM = 0.8


class Alarms:
    """Fed with the figures of a run as they come, gives the alarms that they raise.

    An alarm is raised once, and again only after it was over. Whether responses end and how long
    they are says something where nothing cuts them: in training at `uncut` rollouts, in evaluations
    always.
    """

    def __init__(self, limits: AlarmsConfig, uncut: bool) -> None:
        self.limits, self.uncut = limits, uncut
        self._raised: set[str] = set()
        self._window: deque[dict[str, float]] = deque(maxlen=limits.window_steps)
        self._first_length: float | None = None
        self._first: dict[tuple[str, str], float] = {}
        self._peaks: dict[str, dict[str, Any]] = {}

    def recall(self, metrics: Rows, evals: Rows) -> None:
        """What a run that goes on told before it stopped: those alarms are not raised again."""
        for row in metrics:
            self.after_step(row)
        for _, rows in groupby(evals, key=lambda row: row["step"]):
            self.after_evaluation(list(rows))

    def after_step(self, metrics: dict[str, Any]) -> list[str]:
        """The alarms that a step's metrics raise."""
        self._window.append(metrics)
        if len(self._window) < self.limits.window_steps:
            return []
        rate, ended, length = (
            fmean(row[f"rollout/{name}"] for row in self._window)
            for name in ("repeat_rate", "eos_rate", "length_mean")
        )
        over = f"of the rollouts of the last {self.limits.window_steps} steps"
        told = self._repeating("rollouts", rate, over)
        if self.uncut:
            self._first_length = self._first_length or length
            told += self._ending("rollouts", ended, over)
            told += self._growing("rollouts", length, self._first_length, over)
        return told

    def after_evaluation(self, rows: Rows) -> list[str]:
        """The alarms that an evaluation's rows of eval.jsonl raise."""
        told = []
        for row in rows:
            name, metric, value = row["benchmark"], row["metric"], row["value"]
            first = self._first.setdefault((name, metric), value)
            if metric == "repeats":
                told += self._repeating(name, value, f"of the responses to {name}")
            elif metric == "ended":
                told += self._ending(name, value, f"of the responses to {name}")
            elif metric == "length_tokens/mean":
                told += self._growing(name, value, first, f"in the responses to {name}")
        for row in headlines(rows):
            told += self._falling(row)
        return told

    def _repeating(self, where: str, rate: float, of: str) -> list[str]:
        limit = self.limits.repeat_rate
        text = f"{rate:.0%} {of} repeat themselves (alarms.repeat_rate={limit})"
        return self._raise("repeats", where, limit is not None and rate / limit, text)

    def _ending(self, where: str, ended: float, of: str) -> list[str]:
        limit = self.limits.eos_rate
        text = f"only {ended:.0%} {of} end by themselves (alarms.eos_rate={limit})"
        urgent = limit is not None and (limit / ended if ended else math.inf)
        return self._raise("endless", where, urgent, text)

    def _growing(self, where: str, length: float, first: float, of: str) -> list[str]:
        limit = self.limits.length_growth
        text = (
            f"{length:.0f} tokens in the mean {of}, {first:.0f} at the start "
            f"(alarms.length_growth={limit})"
        )
        urgent = limit is not None and bool(first) and length / first / limit
        return self._raise("longer", where, urgent, text)

    def _falling(self, row: dict[str, Any]) -> list[str]:
        """Where the fall is beyond what the two intervals leave open."""
        name, limit = row["benchmark"], self.limits.accuracy_fall
        peak = max(self._peaks.get(name, row), row, key=lambda each: each["value"])
        self._peaks[name] = peak
        fall = peak["value"] - row["value"]
        noise = math.hypot(peak["value"] - peak["low"], row["high"] - row["value"])
        text = (
            f"{name} {row['metric']} is {row['value']:.3f}, {100 * fall:.0f} points below its peak "
            f"{peak['value']:.3f} at step {peak['step']} (alarms.accuracy_fall={limit})"
        )
        urgent = limit is not None and fall / max(limit, noise)
        return self._raise("falls", name, urgent, text)

    def _raise(self, kind: str, where: str, urgent: float, text: str) -> list[str]:
        """`urgent` is 1 at the limit."""
        key = f"{kind} {where}"
        if urgent < CALM:
            self._raised.discard(key)
        if urgent < 1 or key in self._raised:
            return []
        self._raised.add(key)
        return [f"{text}; {REMEDIES[kind]}"]
