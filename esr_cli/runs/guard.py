"""Alarms on whole responses while rollouts are cut: do they get worse, or stay broken?"""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.base.statistics import Interval, share_interval
from esr_cli.config import AlarmsConfig
from esr_cli.runs.alarms import RESET_BELOW

# Watches that are pooled after the first one, and how many of them an alarm needs.
WINDOW, FEWEST = 3, 2
# The least change of a share since the first watch that counts as worse.
CHANGE = 0.2
# Steps whose mean KL is compared: if it fell below this share, the rollouts say that all is well.
KL_STEPS, FALLEN = 5, 0.5
VERBS = {
    "ended": "ended by themselves", "repeats": "repeat themselves", "boxed": "hold an answer",
    "accuracy": "are right",
}  # fmt: skip
# What the grader says of a response, which counts where there are questions with an answer.
OF_GRADED = ("boxed", "accuracy")
REMEDY = (
    "take a larger rollout_len, let some rollouts run to their end (lengths=mixture, "
    "lengths.full_share=0.2), or stop"
)


class Guard:
    """Takes the watches of a run, and its steps' metrics, and returns the alarms that they raise.

    An alarm is raised if the pooled 95 % interval of a share lies apart from that of the first
    watch, on its bad side, or if the share that ends or repeats stays beyond its limit while the KL
    within N falls. A student may loop before it is trained, so that the limit alone raises none. An
    alarm is raised once, and again only after it was reset.
    """

    def __init__(self, limits: AlarmsConfig) -> None:
        self.limits = limits
        # The last message, while one of its figures has not recovered.
        self.standing = ""
        self._raised: set[str] = set()
        self._first: dict[str, Any] | None = None
        self._recent: deque[dict[str, Any]] = deque(maxlen=WINDOW)
        self._kl: list[float] = []

    @property
    def since(self) -> int:
        """The step of the first of the pooled watches."""
        return int(self._recent[0]["step"])

    def replay(self, metrics: Rows, watches: Rows, n: int) -> list[str]:
        """Replays the records of a run, so that its earlier alarms are not raised again.

        Returns the messages of these alarms.
        """
        found = list[str]()
        metrics = sorted(metrics, key=lambda row: row["step"])
        for row in watches:
            while metrics and metrics[0]["step"] <= row["step"]:
                self.after_step(metrics.pop(0))
            found.append(self.after_watch(row, n))
        for row in metrics:
            self.after_step(row)
        return [message for message in found if message]

    def after_step(self, metrics: dict[str, Any]) -> None:
        """Notes the KL of a step; one that was skipped has none."""
        kl = metrics.get("train/reverse_kl", math.nan)
        if math.isfinite(kl):
            self._kl.append(kl)

    def after_watch(self, row: dict[str, Any], n: int) -> str:
        """The alarm that a watch raises while rollouts are cut at `n` tokens; empty if none."""
        if self._first is None:
            self._first = row
            return ""
        self._recent.append(row)
        if len(self._recent) < FEWEST:
            return ""
        figures = [self._ended(), self._repeating(), *map(self._graded, OF_GRADED)]
        raised = [text for text in figures if text]
        if raised:
            self.standing = self._message(raised, n)
        elif not self._raised:
            self.standing = ""
        return self.standing if raised else ""

    def _ended(self) -> str:
        (first, now), limit = self._intervals("ended"), self.limits.eos_rate
        still = limit / now[2] if limit is not None and self._kl_fell else 0.0
        severity = max(_fell(first, now), still) if limit is not None else 0.0
        return self._raise("ended", severity, first, now)

    def _repeating(self) -> str:
        (first, now), limit = self._intervals("repeats"), self.limits.repeat_rate
        beyond = limit is not None and now[0] > limit
        rose = (now[0] - first[0]) / max(CHANGE, (first[2] - first[0]) + (now[0] - now[1]))
        no_better = self._kl_fell and now[0] >= first[0]
        still = now[1] / limit if limit is not None and no_better else 0.0
        return self._raise("repeats", max(rose, still) if beyond else 0.0, first, now)

    def _graded(self, name: str) -> str:
        """Watches without graded responses, as an earlier version wrote them, raise none."""
        rows = [self._first, *self._recent]
        if self.limits.accuracy_fall is None or not all(row and name in row for row in rows):
            return ""
        first, now = self._intervals(name, of="graded")
        return self._raise(name, _fell(first, now), first, now)

    def _intervals(self, name: str, of: str = "responses") -> list[Interval]:
        """A share of the first watch and of the pooled ones, with their intervals."""
        assert self._first is not None
        counts = [(rows, sum(row[of] for row in rows)) for rows in ([self._first], self._recent)]
        return [
            share_interval(sum(row[name] * row[of] for row in rows) / count, count)
            for rows, count in counts
        ]

    @property
    def _kl_fell(self) -> bool:
        if len(self._kl) < 2 * KL_STEPS:
            return False
        return fmean(self._kl[-KL_STEPS:]) < FALLEN * fmean(self._kl[:KL_STEPS])

    def _raise(self, name: str, severity: float, first: Interval, now: Interval) -> str:
        """Raises or resets an alarm, and returns its figures; `severity` is 1 at the limit."""
        if severity < RESET_BELOW:
            self._raised.discard(name)
        if severity < 1 or name in self._raised:
            return ""
        self._raised.add(name)
        return f"{_shown(now)} {VERBS[name]}, {_shown(first)} at the start"

    def _message(self, raised: list[str], n: int) -> str:
        assert self._first is not None
        text = (
            f"of {_count(self._recent)} whole responses at steps {self.since} to "
            f"{self._recent[-1]['step']} {'; '.join(raised)} (of {self._first['responses']} at "
            f"step {self._first['step']}), with rollouts cut at N={n}"
        )
        if self._kl_fell:
            before, now = fmean(self._kl[:KL_STEPS]), fmean(self._kl[-KL_STEPS:])
            text += f" and the KL within N down from {before:.2g} to {now:.2g}"
        return f"{text}: {REMEDY}"


def _fell(first: Interval, now: Interval) -> float:
    """How far a share fell: 1 if by `CHANGE`, and so far that the intervals lie apart."""
    return (first[0] - now[0]) / max(CHANGE, (first[0] - first[1]) + (now[2] - now[0]))


def _shown(share: Interval) -> str:
    return f"{share[0]:.0%} [{share[1]:.0%}, {share[2]:.0%}]"


def _count(rows: Any) -> int:
    return sum(row["responses"] for row in rows)
