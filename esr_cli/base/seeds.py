"""Means over seeds with 95 % intervals for new seeds and new questions, and what they can show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from esr_cli.base.distributions import t_quantile, t_tail
from esr_cli.base.statistics import Z_95, Interval

# If trainings collapse with probability q, three seeds all miss it with (1 - q)³: 0.9³ = 0.73.
FEW_SEEDS = (
    "three seeds or fewer cannot know a rare collapse: if one training in ten fails, 73 % of three "
    "seeds show none, and their interval does not hold the true mean"
)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval.

    `error` is the part of its standard error that comes from seeds, with `df` degrees of freedom;
    one seed has no such part. `questions` are the half widths of the questions alone, by default
    what `error` leaves of the interval.
    """

    value: float
    low: float
    high: float
    error: float = 0.0
    df: float = math.inf
    questions: tuple[float, float] | None = None

    def half(self, side: int, tail: float = 0.025) -> float:
        """The half width below (-1) or above (1) the value that leaves `tail` outside.

        It adds the whole spread over seeds to that over questions. The interval itself leaves out
        what is in both, but a difference of two variances is too uncertain for other tails: with
        three seeds it is often nothing by chance.
        """
        seeds = t_quantile(1 - tail, self.df) * self.error
        return math.hypot(seeds, self.of_questions(side) * t_quantile(1 - tail, math.inf) / Z_95)

    def of_questions(self, side: int) -> float:
        """The half width of the questions alone, below (-1) or above (1) the value."""
        if self.questions:
            return self.questions[side > 0]
        width = self.high - self.value if side > 0 else self.value - self.low
        if not math.isfinite(width):
            return math.inf
        return math.sqrt(max(0.0, width**2 - (t_quantile(0.975, self.df) * self.error) ** 2))

    def tail(self, distance: float, side: int) -> float:
        """The one-sided p value of a null hypothesis `distance` away from the value, on one side.

        It is the tail at which `half` just reaches that far, and 1 if the distance is not positive.
        """
        width = self.half(side)
        if distance <= 0 or not math.isfinite(width):
            return 1.0
        if width == 0:
            return 0.0
        if not self.error:
            return t_tail(distance / width * Z_95, math.inf)
        low, high = 0.0, 0.5
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self.half(side, middle) > distance else (low, middle)
        return high


def over_seeds(
    by_seed: Sequence[Sequence[float]], over: Callable[[Sequence[float]], Interval]
) -> Estimate:
    """Mean of one value per question (rows: seeds), for new seeds and new questions.

    `over` gives the interval of the questions' means. Seeds and questions are crossed, so their
    variances are added, and that of a single answer, which is part of both, is subtracted once
    (A. C. Cameron, J. B. Gelbach and D. L. Miller 2011); seeds count with Student's t. If seeds
    alone give a wider interval, that is returned. With one seed it covers questions only.
    """
    columns = zip(*by_seed, strict=True)
    return _crossed(by_seed, over([sum(column) / len(column) for column in columns]))


def keys_of_all(tables: Sequence[Mapping[str, object]]) -> list[str]:
    """The keys that all of one or more tables have, in the order of the first."""
    return [key for key in tables[0] if all(key in each for each in tables)]


def mean_by_key(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean over tables of the value at each key that all of them have."""
    return {key: fmean(each[key] for each in tables) for key in keys_of_all(tables)}


def seed_error(values: Sequence[float]) -> tuple[float, float]:
    """Standard error of the mean of one value per seed, and its degrees of freedom.

    It is 0 for one seed, which has no spread.
    """
    n, mean = len(values), sum(values) / len(values)
    if n == 1:
        return 0.0, math.inf
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n), n - 1


def added(errors: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The standard error of a sum of independent terms (B. L. Welch 1947), from theirs with df."""
    square = sum(error**2 for error, _ in errors)
    weights = sum(error**4 / df for error, df in errors)
    return math.sqrt(square), square**2 / weights if weights else math.inf


def estimate(value: float, below: float, above: float, error: float, df: float) -> Estimate:
    """An estimate whose questions alone have the half widths `below` and `above`."""
    seeds = t_quantile(0.975, df) * error
    return Estimate(value, value - math.hypot(below, seeds), value + math.hypot(above, seeds),
                    error, df)  # fmt: skip


def _crossed(by_seed: Sequence[Sequence[float]], questions: Interval) -> Estimate:
    mean, low, high = questions
    error, df = seed_error([sum(row) / len(row) for row in by_seed])
    net = math.sqrt(max(0.0, error**2 - _single(by_seed)))
    both = estimate(mean, mean - low, high - mean, net, df)
    alone = estimate(mean, 0, 0, error, df)
    # With few seeds either may be the wider by chance; the wider one is the safe one.
    wider = alone if alone.high - alone.low > both.high - both.low else both
    return replace(wider, error=error, df=df, questions=(mean - low, high - mean))


def _single(by_seed: Sequence[Sequence[float]]) -> float:
    """The variance of the mean over seeds that is the noise of single answers."""
    rows = np.asarray(by_seed, dtype=float)
    seeds, questions = rows.shape
    if min(seeds, questions) < 2:
        return 0.0
    rest = rows - rows.mean(0) - rows.mean(1, keepdims=True) + rows.mean()
    return float((rest**2).sum() / (seeds - 1) / (questions - 1) / seeds / questions)
