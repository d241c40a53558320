"""Means, pass@k, votes, each with a 95 % interval over questions; and repetition."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Interval = tuple[float, float, float]
Z_95 = 1.959964
RESAMPLES = 1000
# Student's t, 97.5 %, by degrees of freedom.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def wilson(share: float, n: int) -> Interval:
    """A share of `n` yes/no outcomes with Wilson's interval (E. B. Wilson 1927)."""
    centre = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half = math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n)) * Z_95 / (1 + Z_95**2 / n)
    # Rounding can put a bound a hair beyond the share itself.
    return share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean of one share a question, in [0, 1].

    Wilson's interval where every question is a plain yes or no; else by the standard error over
    questions, which tells nothing where all agree: there Wilson's again.
    """
    if len(set(values)) == 1 or all(value in (0, 1) for value in values):
        return wilson(sum(values) / len(values), len(values))
    mean, half = _mean_and_half(values)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def bootstrap(rows: Any, figure: Callable[[np.ndarray], np.ndarray]) -> Interval:
    """A figure of many questions, with its percentile interval over resampled questions.

    `rows` holds a question a row; `figure` reduces the last axes of an array of such arrays to one
    number each. The draws are the same at every call.
    """
    array = np.asarray(rows, dtype=float)
    picks = np.random.default_rng(0).integers(len(array), size=(RESAMPLES, len(array)))
    low, high = np.quantile(figure(array[picks]), [0.025, 0.975])
    return float(figure(array)), float(low), float(high)


def resampled_sums(rows: Any) -> np.ndarray:
    """The sum over rows for each draw of `bootstrap`, in the first axis.

    Enough for every figure that is made of sums, and far less memory than the rows drawn.
    """
    array = np.asarray(rows, dtype=float)
    picks = np.random.default_rng(0).integers(len(array), size=(RESAMPLES, len(array)))
    count = np.stack([np.bincount(draw, minlength=len(array)) for draw in picks]).astype(float)
    return np.tensordot(count, array, axes=1)


def interval(found: float, draws: np.ndarray) -> Interval:
    """A figure with the percentile interval of its draws; draws that are not finite tell nothing.

    Without a draw that does, the figure stands alone.
    """
    told = draws[np.isfinite(draws)]
    if not len(told):
        return found, found, found
    low, high = np.quantile(told, [0.025, 0.975])
    return found, float(low), float(high)


def mean_bootstrap(values: Sequence[float]) -> Interval:
    """Mean of one share a question by `bootstrap`; Wilson's interval where all questions agree,
    since resampling them tells nothing.
    """
    if len(set(values)) == 1:
        return wilson(values[0], len(values))
    return bootstrap(values, lambda array: array.mean(-1))


def pass_at(k: int, n: int, right: int) -> float:
    """Chance that `k` of `n` responses, of which `right` are right, hold a right one.

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374). Needs k <= n.
    """
    assert 0 < k <= n, (k, n)
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def majority(votes: Sequence[int | None], right: Sequence[bool]) -> float:
    """maj@k of one question: whether the answer with most votes is right.

    `votes` names the answer that each response gives, None where it gives none: that is no vote,
    and no vote at all is wrong. A tie counts as a fair draw among the answers that share the lead.
    """
    count = Counter(vote for vote in votes if vote is not None)
    if not count:
        return 0.0
    lead = [vote for vote, number in count.items() if number == max(count.values())]
    return sum(right[votes.index(vote)] for vote in lead) / len(lead)


def ballots(answers: Sequence[str | None], same: Callable[[str, str], bool]) -> list[int | None]:
    """The first response that gives each answer, so that equal answers are one vote."""
    firsts: list[int] = []
    votes: list[int | None] = []
    for index, answer in enumerate(answers):
        if answer is None:
            votes.append(None)
            continue
        known = (first for first in firsts if same(str(answers[first]), answer))
        votes.append(next(known, index))
        if votes[-1] == index:
            firsts.append(index)
    return votes


def paired(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Mean of b - a over the same questions, by the standard error of the differences."""
    mean, half = _mean_and_half([y - x for x, y in zip(a, b, strict=True)])
    return mean, mean - half, mean + half


def over_seeds(by_seed: Sequence[Sequence[float]]) -> Interval:
    """Mean of one figure a question (rows: seeds), with an interval for new seeds and questions.

    The spread over seeds (Student's t over their means) and over questions (the standard error of
    their means) add up in squares, which errs on the wide side. One seed tells of questions alone.
    """
    seeds = [sum(row) / len(row) for row in by_seed]
    mean, of_questions = _mean_and_half([sum(c) / len(c) for c in zip(*by_seed, strict=True)])
    if len(seeds) == 1:
        return mean, mean - of_questions, mean + of_questions
    _, half = _mean_and_half(seeds)
    degrees = len(seeds) - 1
    of_seeds = half / Z_95 * (T_975[degrees - 1] if degrees <= len(T_975) else Z_95)
    half = math.hypot(of_seeds, of_questions)
    return mean, mean - half, mean + half


def _mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """The mean and half its 95 % interval by the standard error; one value alone tells nothing."""
    n, mean = len(values), sum(values) / len(values)
    if n == 1:
        return mean, 1.0
    return mean, Z_95 * math.sqrt(sum((x - mean) ** 2 for x in values) / (n - 1) / n)


def repeats(tokens: Sequence[object], gram: int = 10, times: int = 3) -> bool:
    """Whether some run of `gram` tokens stands `times` times or more in the response."""
    grams = Counter(tuple(tokens[i : i + gram]) for i in range(len(tokens) - gram + 1))
    return bool(grams) and max(grams.values()) >= times
