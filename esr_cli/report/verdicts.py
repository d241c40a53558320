"""When a figure shows a claim, alone and among all claims of a report, and what it could show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from esr_cli.report.number import Number

SHOWS, DOES_NOT, EQUIVALENT = "shows", "does not show", "equivalent"
UNTESTABLE, NOISY, UNMEASURED = "cannot be tested here", "too noisy to say", "not measured"
VERDICTS = (SHOWS, DOES_NOT, EQUIVALENT, UNTESTABLE, NOISY, UNMEASURED)
# The chance that any claim of a report is shown by chance alone is at most this.
FAMILY = 0.05
# The chance of missing an effect of the size that is called the smallest that could be shown.
MISSED = 0.2


@dataclass(frozen=True)
class Rule:
    """When a figure shows a claim.

    Either it lies on the `side` (above, below) of `neutral` and reaches `least`, or its interval
    lies `inside` a range, or its interval is no higher than `at_most`.
    """

    side: str = ""
    neutral: float = 0.0
    least: float = 0.0
    inside: tuple[float, float] | None = None
    at_most: float | None = None

    @property
    def sign(self) -> int:
        """1 if the claim is that a figure is above, -1 if below."""
        return 1 if self.side == "above" else -1

    @property
    def effect(self) -> float:
        """The smallest effect of interest, as a distance from `neutral`; 0 for a range."""
        if self.inside:
            return 0.0
        return abs(self.least - self.neutral) if self.at_most is None else abs(self.at_most)


def verdict(value: float, low: float, high: float, rule: Rule, room: float = math.inf) -> str:
    """Judges a claim by a figure and its 95 % interval.

    `room` is the largest effect that the figure's bounds allow, in the claim's direction. An
    effect that is certain but smaller than `rule.least` does not show the claim.
    """
    cramped = room < rule.effect
    if rule.at_most is not None:
        # Only a gain of a longer N counts against the claim, not a loss.
        found = SHOWS if high <= rule.at_most else DOES_NOT if low > rule.at_most else NOISY
        return UNTESTABLE if cramped and found != DOES_NOT else found
    if rule.inside:
        start, end = rule.inside
        if start <= low and high <= end:
            return SHOWS
        return DOES_NOT if high < start or low > end else NOISY
    near, far = sorted((rule.sign * low, rule.sign * high))
    neutral, least = rule.sign * rule.neutral, rule.sign * rule.least
    if near > neutral and rule.sign * value >= least:
        return SHOWS
    if cramped and far >= neutral:
        return UNTESTABLE
    if neutral - rule.effect <= near and far <= neutral + rule.effect:
        return EQUIVALENT
    return DOES_NOT if far < least else NOISY


def p_value(number: Number, rule: Rule) -> float:
    """The one-sided p value of the hypothesis that the claim is false.

    False means no effect (`neutral`), just above `at_most`, or just outside the range.
    """
    if rule.inside:
        start, end = rule.inside
        below, above = number.tail(number.value - start, -1), number.tail(end - number.value, 1)
        return max(below, above)
    if rule.at_most is not None:
        return number.tail(rule.at_most - number.value, 1)
    return number.tail(rule.sign * (number.value - rule.neutral), -rule.sign)


def kept(p_values: Sequence[float | None], count: int) -> list[bool]:
    """Which findings stay shown among `count` claims: the step-down rule of S. Holm (1979).

    `p_values` has None for a claim that is not shown by itself. The chance that any false claim
    stays is at most `FAMILY`, whatever the claims have in common.
    """
    order = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    stay = [False] * len(p_values)
    for rank, (p, at) in enumerate(order):
        if p > FAMILY / (count - rank):
            break
        stay[at] = True
    return stay


def smallest(number: Number, rule: Rule, count: int) -> float | None:
    """The smallest true figure that would be shown with a probability of 80 %, at this spread.

    Shown means: the interval excludes `neutral` at the first level of `kept` (but at least 95 %),
    and the figure reaches `least`. For `at_most`, the largest figure that would be shown. None for
    a range, and without a finite interval.
    """
    if rule.inside:
        return None
    tail = min(0.025, FAMILY / max(1, count))
    sign = -1 if rule.at_most is not None else rule.sign
    whole, missed = number.half(-sign, tail), number.half(-sign, MISSED)
    if not math.isfinite(whole):
        return None
    if rule.at_most is not None:
        return rule.at_most - whole - missed
    reached = rule.sign * rule.least + missed
    return sign * max(rule.sign * rule.neutral + whole + missed, reached)
