"""A number over seeds with its interval; means, differences and ratios of such numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from esr_cli.base.seeds import Estimate, added, estimate, seed_error
from esr_cli.base.statistics import Interval

# The logarithm of the largest float, rounded down.
MOST_LOG = 709


@dataclass(frozen=True)
class Number(Estimate):
    """A mean over seeds, its 95 % interval, and the value of each seed.

    `units` names the seeds or students of these values, where the questions of each are known.
    """

    seeds: tuple[float, ...] = ()
    units: tuple[int | str, ...] = ()

    def scaled(self, by: float) -> Number:
        """The number multiplied by `by`, in another unit."""
        seeds = tuple(by * each for each in self.seeds)
        low, high, error = (by * each for each in (self.low, self.high, self.error))
        questions = self.questions and (by * self.questions[0], by * self.questions[1])
        return Number(by * self.value, low, high, error, self.df, questions, seeds, self.units)

    def within(self, low: float, high: float) -> Number:
        """The number with its interval clipped to the range of the figure."""
        return replace(self, low=max(low, self.low), high=min(high, self.high))


def number(found: Estimate, seeds: Sequence[float] = (), units: Sequence[int | str] = ()) -> Number:
    """An estimate with the value of each seed, and what these are."""
    return Number(**vars(found), seeds=tuple(seeds), units=tuple(units))


def over_runs(intervals: Sequence[Interval]) -> Number:
    """The mean of a figure over runs, each with its own interval over the same questions."""
    values = [value for value, _, _ in intervals]
    below = sum(value - low for value, low, _ in intervals) / len(intervals)
    above = sum(high - value for value, _, high in intervals) / len(intervals)
    found = estimate(sum(values) / len(values), below, above, *seed_error(values))
    return number(found, values)


def over_plain_runs(values: Sequence[float]) -> Number | None:
    """The mean of a figure over runs by Student's t; a single run has no finite interval."""
    unknown = math.inf if len(values) == 1 else 0.0
    return (
        over_runs([(each, each - unknown, each + unknown) for each in values]) if values else None
    )


def minus(a: Number, b: Number) -> Number:
    """a - b of two independent numbers."""
    error, df = added([(a.error, a.df), (b.error, b.df)])
    below = math.hypot(a.of_questions(-1), b.of_questions(1))
    above = math.hypot(a.of_questions(1), b.of_questions(-1))
    return number(estimate(a.value - b.value, below, above, error, df))


def ratio(a: Number, b: Number) -> Number | None:
    """a / b of two independent numbers, computed on logarithms; None if a value is not positive.

    `error` and `df` are those of the logarithm.
    """
    if min(a.value, b.value) <= 0:
        return None
    logs = minus(_log(a), _log(b))
    return _of_logarithm(logs)


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> Number | None:
    """The geometric mean of a / b over seeds that both have, by Student's t on its logarithm.

    None if a value is not positive. The questions are those of both, so their spread cancels.
    """
    if min(*a, *b) <= 0:
        return None
    logs = over_plain_runs([math.log(x / y) for x, y in zip(a, b, strict=True)])
    assert logs is not None
    return replace(_of_logarithm(logs), seeds=tuple(x / y for x, y in zip(a, b, strict=True)))


def logarithm(ratio: Number) -> Number:
    """The logarithm of a number of `ratio`."""
    return replace(ratio, value=math.log(ratio.value), high=math.log(ratio.high),
                   low=math.log(ratio.low) if ratio.low > 0 else -math.inf)  # fmt: skip


def _of_logarithm(logs: Number) -> Number:
    return replace(logs, value=_exp(logs.value), low=_exp(logs.low), high=_exp(logs.high))


def _exp(value: float) -> float:
    return math.exp(value) if value < MOST_LOG else math.inf


def _log(number: Number) -> Number:
    # The relative width approximates the width of the logarithm: a bound may be below zero.
    value = math.log(number.value)
    below = (number.value - number.low) / number.value
    above = (number.high - number.value) / number.value
    return replace(number, value=value, low=value - below, high=value + above,
                   error=number.error / number.value, questions=None)  # fmt: skip
