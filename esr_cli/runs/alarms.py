"""Alarms: warnings about a run's metrics, each with its usual remedies."""

from __future__ import annotations

import math
from collections import deque
from itertools import groupby
from statistics import fmean
from typing import Any

from esr_cli.base.files import Rows, headlines
from esr_cli.base.words import counted
from esr_cli.config import AlarmsConfig

REMEDIES = {
    "repeats": "lower tune.learning_rate, shorten rollout_len, or go back to an earlier checkpoint",
    "repeats untrained": "training has not begun: look at the prompts that esr check shows, and "
    "whether pair.stop_tokens names how responses end",
    "endless": "check that pair.stop_tokens names how responses end, or shorten rollout_len",
    "endless while cut": "check that pair.stop_tokens names how responses end; if rollouts are too "
    "short to show an end, take a larger rollout_len, or lengths=mixture",
    "longer": "lower tune.learning_rate, or shorten rollout_len",
    "falls": "stop here and take the best checkpoint (esr eval run=… checkpoints=all), or lower "
    "tune.learning_rate",
}
# An alarm is reset only once its value is well inside the limit, so that it does not flicker.
RESET_BELOW = 0.8


class Alarms:
    """Takes the metrics of a run as they arrive and returns the alarms that they raise.

    An alarm is raised once, and again only after it was reset. The alarms on response length and
    end-of-text rate need responses that are not truncated: training rollouts count only if `uncut`,
    evaluations always do.
    """

    def __init__(self, limits: AlarmsConfig, uncut: bool) -> None:
        self.limits, self.uncut = limits, uncut
        self._raised: set[str] = set()
        self._window: deque[dict[str, float]] = deque(maxlen=limits.window_steps)
        self._first_length: float | None = None
        self._first: dict[tuple[str, str], float] = {}
        self._peaks: dict[str, dict[str, Any]] = {}

    def replay(self, metrics: Rows, evals: Rows) -> None:
        """Replays the records of a resumed run, so that its earlier alarms are not raised again."""
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
        scope = f"of the rollouts of the last {counted(self.limits.window_steps, 'step')}"
        alarms = self._repeating("rollouts", rate, scope)
        if self.uncut:
            self._first_length = self._first_length or length
            alarms += self._ending("rollouts", ended, scope)
            alarms += self._growing("rollouts", length, self._first_length, scope)
        return alarms

    def after_evaluation(self, rows: Rows) -> list[str]:
        """The alarms that an evaluation's rows of eval.jsonl raise."""
        alarms = []
        for row in rows:
            name, metric, value = row["benchmark"], row["metric"], row["value"]
            first = self._first.setdefault((name, metric), value)
            if metric == "repeats":
                scope = f"of the responses to {name}"
                trained = row["step"] > 0 and value > first
                alarms += self._repeating(name, value, scope, trained)
            elif metric == "ended":
                alarms += self._ending(name, value, f"of the responses to {name}")
            elif metric == "length_tokens/mean":
                alarms += self._growing(name, value, first, f"in the responses to {name}")
        for row in headlines(rows):
            alarms += self._falling(row)
        return alarms

    def _repeating(self, source: str, rate: float, scope: str, trained: bool = True) -> list[str]:
        limit = self.limits.repeat_rate
        text = f"{rate:.0%} {scope} repeat themselves (alarms.repeat_rate={limit})"
        severity = limit is not None and rate / limit
        # What a student does before training hides nothing that training makes worse.
        kind = "repeats" if trained else "repeats untrained"
        return self._raise(kind, source, severity, text)

    def _ending(self, source: str, ended: float, scope: str) -> list[str]:
        limit = self.limits.eos_rate
        text = f"only {ended:.0%} {scope} end by themselves (alarms.eos_rate={limit})"
        severity = limit is not None and (limit / ended if ended else math.inf)
        kind = "endless" if self.uncut else "endless while cut"
        return self._raise(kind, source, severity, text)

    def _growing(self, source: str, length: float, first: float, scope: str) -> list[str]:
        limit = self.limits.length_growth
        text = (
            f"{length:.0f} tokens on average {scope}, {first:.0f} at the start "
            f"(alarms.length_growth={limit})"
        )
        severity = limit is not None and bool(first) and length / first / limit
        return self._raise("longer", source, severity, text)

    def _falling(self, row: dict[str, Any]) -> list[str]:
        """An alarm if the fall exceeds the limit and the uncertainty of the two intervals."""
        name, limit = row["benchmark"], self.limits.accuracy_fall
        peak = max(self._peaks.get(name, row), row, key=lambda each: each["value"])
        self._peaks[name] = peak
        fall = peak["value"] - row["value"]
        noise = math.hypot(peak["value"] - peak["low"], row["high"] - row["value"])
        text = (
            f"{name} {row['metric']} is {row['value']:.3f}, "
            f"{counted(round(100 * fall), 'point')} below its peak "
            f"{peak['value']:.3f} at step {peak['step']} (alarms.accuracy_fall={limit})"
        )
        severity = limit is not None and fall / max(limit, noise)
        return self._raise("falls", name, severity, text)

    def _raise(self, kind: str, source: str, severity: float, text: str) -> list[str]:
        """Raises or resets an alarm; `severity` is 1 at the limit."""
        key = f"{kind} {source}"
        if severity < RESET_BELOW:
            self._raised.discard(key)
        if severity < 1 or key in self._raised:
            return []
        self._raised.add(key)
        return [f"{text}; {REMEDIES[kind]}"]
