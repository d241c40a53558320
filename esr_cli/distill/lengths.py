"""The maximum length of each response of a step."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

SCHEDULES = ("constant", "linear", "steps", "share", "random")
FULL_IN = ("responses", "steps")


@dataclass(frozen=True)
class Lengths:
    """The rollout length N over training, and the share of responses with the full length.

    `schedule` is one of:

    - `constant`: N
    - `linear`: from `start` (or N, if less) to N over the first `over` steps (arXiv 2602.15260)
    - `steps`: for each (step, length) of `stages`, that length from that step on, at most N
      (arXiv 2605.31490)
    - `share`: `share` of `full`
    - `random`: for each response a length between 1 and 2 N - 1, all equally likely, at most `full`

    A mixture of lengths: `full_share` of the responses (`full_in` "responses"), or all responses of
    that share of the steps ("steps"), get `full` tokens under any schedule.
    """

    n: int
    full: int
    schedule: str = "constant"
    start: int = 1
    over: int = 1
    stages: tuple[tuple[int, int], ...] = ()
    share: float = 1.0
    full_share: float = 0.0
    full_in: str = "responses"
    seed: int = 0

    @property
    def longest(self) -> int:
        """The maximum number of tokens of any response of the run."""
        mixed = self.full if self.full_share > 0 else 0
        if self.schedule == "random":
            mixed = max(mixed, min(2 * self.n - 1, self.full))
        last = max([self.n_at(0), self.n_at(self.over), *(self.n_at(at) for at, _ in self.stages)])
        return max(mixed, last)

    def n_at(self, step: int) -> int:
        """N in tokens at a step (counted from 0)."""
        if self.schedule == "linear":
            done, start = min(1.0, step / max(1, self.over)), min(self.start, self.n)
            return round(start + (self.n - start) * done)
        if self.schedule == "steps":
            reached = [length for at, length in self.stages if at <= step]
            return min(self.n, reached[-1]) if reached else self.n
        if self.schedule == "share":
            return max(1, round(self.share * self.full))
        return self.n

    def lengths_at(self, step: int, count: int) -> Sequence[int]:
        """The length of each of the step's `count` responses.

        The number of full-length responses is exact over the run: the fraction that a step leaves
        over is carried to the next step. They are chosen at random by seed and step. One in several
        steps stands in their middle, so that a run ends neither with it nor long after it.
        """
        lengths = [self.n_at(step)] * count
        if self.schedule == "random":
            draw = random.Random(f"{self.seed}/{step}/random")
            lengths = [min(draw.randint(1, 2 * self.n - 1), self.full) for _ in lengths]
        at_once = count if self.full_in == "steps" else 1
        units, share = count // at_once, self.full_share
        before, after = (int(at * units * share + 0.5) for at in (step, step + 1))
        full = at_once * (after - before)
        for index in random.Random(f"{self.seed}/{step}").sample(range(count), full):
            lengths[index] = self.full
        return lengths
