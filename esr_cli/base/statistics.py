"""Means, pass@k and maj@k with 95 % intervals over questions; and a test for repetition."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Interval = tuple[float, float, float]
Z_95 = 1.959964
RESAMPLES = 1000
# A mean over responses at a position counts only if this share of them reach the position.
REACHED = 0.1
# The effect of k tokens on accuracy is read where this share of the responses are longer than k.
GOING = 0.9
# The 97.5 % quantile of Student's t by degrees of freedom, from 1.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def wilson(share: float, n: float) -> Interval:
    """A proportion of `n` binary outcomes with Wilson's interval (E. B. Wilson 1927)."""
    scale = 1 + Z_95**2 / n
    centre = (share + Z_95**2 / (2 * n)) / scale
    half = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n)) / scale
    # Rounding can put a bound slightly beyond the share itself.
    return share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def mean_interval(values: Sequence[float], samples: float = 1) -> Interval:
    """Mean of one share per question, each over `samples` binary outcomes.

    It is Wilson's interval for an effective number of outcomes, which matches the variance over
    questions. That number lies between the count of questions and the count of all samples. For
    one sample per question this is Wilson's interval. It keeps a width if all questions agree.
    """
    n, mean = len(values), sum(values) / len(values)
    return wilson(mean, max(n, min(_outcomes(values, 0, 1), n * samples)))


def mean_difference(values: Sequence[float], most: float = 1.0) -> Interval:
    """Mean of one difference of shares per question, in [-most, most], scaled to [0, 1].

    As `mean_interval`, with the effective number of outcomes. Rare or small differences do not
    reduce that number, and the interval keeps a width if no question differs.
    """
    mean = sum(values) / len(values)
    shares = [value / (2 * most) + 0.5 for value in values]
    outcomes = _outcomes(shares, 0.5 - 0.5 / most, 0.5 + 0.5 / most)
    _, low, high = wilson(mean / (2 * most) + 0.5, outcomes)
    return mean, min(mean, most * (2 * low - 1)), max(mean, most * (2 * high - 1))


def _outcomes(shares: Sequence[float], least: float, greatest: float) -> float:
    """The number of binary outcomes whose mean has the same variance as the mean of the shares.

    The variance includes z²/2 additional questions at either extreme, as Wilson's centre does, so
    that a few small differences do not give a very narrow interval.
    """
    n, more = len(shares), Z_95**2
    mean = (sum(shares) + more * (least + greatest) / 2) / (n + more)
    square = (sum(each**2 for each in shares) + more * (least**2 + greatest**2) / 2) / (n + more)
    return n * mean * (1 - mean) / (square - mean**2)


def bootstrap(rows: Any, figure: Callable[[np.ndarray], np.ndarray]) -> Interval:
    """A statistic of many questions, with its percentile bootstrap interval over questions.

    `rows` holds one question per row. `figure` maps an array `(..., *rows.shape)` to one number
    per leading index. The resamples are the same at every call.
    """
    array = np.asarray(rows, dtype=float)
    picks = np.random.default_rng(0).integers(len(array), size=(RESAMPLES, len(array)))
    low, high = np.quantile(figure(array[picks]), [0.025, 0.975])
    return float(figure(array)), float(low), float(high)


def resampled_sums(rows: Any) -> np.ndarray:
    """The sum over rows for each resample of `bootstrap`, along the first axis.

    This suffices for every statistic of sums, and takes far less memory than the resampled rows.
    """
    array = np.asarray(rows, dtype=float)
    picks = np.random.default_rng(0).integers(len(array), size=(RESAMPLES, len(array)))
    count = np.stack([np.bincount(draw, minlength=len(array)) for draw in picks]).astype(float)
    return np.tensordot(count, array, axes=1)


def summed_by(keys: Sequence[str], rows: Any) -> np.ndarray:
    """The sum of the rows of each key, in the order of first occurrence.

    It is for statistics of responses: a question may have several, and questions are resampled.
    """
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    array = np.asarray(rows, dtype=float)
    sums = np.zeros((len(places), *array.shape[1:]))
    np.add.at(sums, [places[key] for key in keys], array)
    return sums


def interval(found: float, draws: np.ndarray) -> Interval:
    """A statistic with the percentile interval of its resamples; non-finite ones are ignored.

    Without any finite resample, both bounds are the statistic itself.
    """
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return found, found, found
    low, high = np.quantile(finite, [0.025, 0.975])
    return found, float(low), float(high)


def mean_bootstrap(values: Sequence[float], samples: float = 1) -> Interval:
    """Mean of one share per question by `bootstrap`, never narrower than `mean_interval`.

    If most questions agree, the bootstrap interval alone is too narrow.
    """
    mean, low, high = mean_interval(values, samples)
    _, drawn_low, drawn_high = bootstrap(values, lambda array: array.mean(-1))
    return mean, min(low, drawn_low), max(high, drawn_high)


def pass_at(k: int, n: int, right: int) -> float:
    """Probability that `k` of `n` responses contain a correct one; `right` of the `n` are correct.

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374). Needs k <= n.
    """
    assert 0 < k <= n, (k, n)
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def majority(votes: Sequence[int | None], right: Sequence[bool]) -> float:
    """maj@k of one question: whether the answer with the most votes is correct.

    `votes` holds the answer of each response as the index of the first response with that answer.
    A response without an answer has None and does not vote. A question without votes is wrong.
    Tied answers count as a uniform draw among them.
    """
    count = Counter(vote for vote in votes if vote is not None)
    if not count:
        return 0.0
    lead = [vote for vote, number in count.items() if number == max(count.values())]
    return sum(right[votes.index(vote)] for vote in lead) / len(lead)


def ballots(answers: Sequence[str | None], same: Callable[[str, str], bool]) -> list[int | None]:
    """The vote of each response: the index of the first response with an equal answer, or None."""
    firsts: list[int] = []
    votes: list[int | None] = []
    for index, answer in enumerate(answers):
        if answer is None:
            votes.append(None)
            continue
        equal = (first for first in firsts if same(str(answers[first]), answer))
        votes.append(next(equal, index))
        if votes[-1] == index:
            firsts.append(index)
    return votes


def paired(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Mean of b - a, shares of the same questions, with the interval of `mean_difference`."""
    return mean_difference([y - x for x, y in zip(a, b, strict=True)])


def over_seeds(
    by_seed: Sequence[Sequence[float]], over: Callable[[Sequence[float]], Interval]
) -> Interval:
    """Mean of one value per question (rows: seeds), with an interval for new seeds and questions.

    The spread over seeds and the interval of `over` for the questions' means are added in
    quadrature, which is conservative. With one seed the interval covers questions only.
    """
    mean, low, high = over([sum(column) / len(column) for column in zip(*by_seed, strict=True)])
    spread = seed_spread([sum(row) / len(row) for row in by_seed])
    return mean, mean - math.hypot(spread, mean - low), mean + math.hypot(spread, high - mean)


def seed_spread(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the mean of one value per seed (Student's t).

    It is 0 for one seed, which has no spread.
    """
    n, mean = len(values), sum(values) / len(values)
    if n == 1:
        return 0.0
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return error * (T_975[n - 2] if n - 1 <= len(T_975) else Z_95)


def repeats(tokens: Sequence[object], gram: int = 10, times: int = 3) -> bool:
    """Whether some n-gram of `gram` tokens occurs at least `times` times in the response."""
    grams = Counter(tuple(tokens[i : i + gram]) for i in range(len(tokens) - gram + 1))
    return bool(grams) and max(grams.values()) >= times
