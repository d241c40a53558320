"""Means, pass@k and maj@k with 95 % intervals over questions; and a test for repetition."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from esr_cli.base.distributions import beta_quantile

Interval = tuple[float, float, float]
Z_95 = 1.959964
RESAMPLES = 1000
# A mean over responses at a position counts only if this share of them reach the position.
REACHED = 0.1
# The effect of k tokens on accuracy is read where this share of the responses are longer than k.
GOING = 0.9
# Additional questions, half at each extreme, in the variance of a mean of shares (as in Wilson's
# centre, so that one more wrong response raises no bound), and in that of differences.
MORE_SHARES, MORE_DIFFERENCES = Z_95**2, 2.0
# Above this many outcomes Wilson's bound is the lower of the two in `share_interval`.
FEW = 12


def wilson(share: float, n: float, z: float = Z_95) -> Interval:
    """A proportion of `n` binary outcomes with Wilson's interval (E. B. Wilson 1927).

    `z` is the normal quantile of the level; the default is 95 %.
    """
    scale = 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n * n)) / scale
    # Rounding can put a bound slightly beyond the share itself.
    return share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def share_interval(share: float, n: float) -> Interval:
    """Wilson's interval, with the exact one-sided bound where few outcomes differ.

    Wilson's bound lies too near to a share of one or two outcomes: at a true share of 0.001 and 128
    outcomes the interval covers it 88 % of the time. The bound of C. J. Clopper and E. S. Pearson
    (1934) at 5 % replaces it where it is wider, as L. D. Brown, T. T. Cai and A. DasGupta (2001,
    section 4.1) do with its Poisson limit.
    """
    _, low, high = wilson(share, n)
    right, wrong = share * n, (1 - share) * n
    if 0 < right < FEW:
        low = min(low, beta_quantile(0.05, right, wrong + 1))
    if 0 < wrong < FEW:
        high = max(high, 1 - beta_quantile(0.05, wrong, right + 1))
    return share, low, high


def mean_interval(values: Sequence[float], samples: float = 1) -> Interval:
    """Mean of one share per question, each over `samples` binary outcomes.

    It is `share_interval` for an effective number of outcomes, which matches the variance over
    questions (E. L. Korn and B. I. Graubard 1998). That number lies between the count of questions
    and the count of all samples. It keeps a width if all questions agree.
    """
    n, mean = len(values), sum(values) / len(values)
    return share_interval(mean, max(n, min(_outcomes(values, 0, 1, MORE_SHARES), n * samples)))


def mean_difference(values: Sequence[float], most: float = 1.0, z: float = Z_95) -> Interval:
    """Mean of one difference of shares per question, in [-most, most], scaled to [0, 1].

    It is Wilson's interval for an effective number of outcomes. Two additional questions, one at
    each extreme (A. Agresti and Y. Min 2005), keep a width if no question differs: a few questions
    of a kind that was not drawn may. The interval is therefore wider than it need be if the samples
    of a question are many and independent.
    """
    mean = sum(values) / len(values)
    shares = [value / (2 * most) + 0.5 for value in values]
    outcomes = _outcomes(shares, 0.5 - 0.5 / most, 0.5 + 0.5 / most, MORE_DIFFERENCES)
    _, low, high = wilson(mean / (2 * most) + 0.5, outcomes, z)
    return mean, min(mean, most * (2 * low - 1)), max(mean, most * (2 * high - 1))


def _outcomes(shares: Sequence[float], least: float, greatest: float, more: float) -> float:
    """The number of binary outcomes whose mean has the same variance as the mean of the shares.

    The variance includes `more` additional questions, half at either extreme, so that a few small
    differences do not give a very narrow interval.
    """
    n = len(shares)
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


def paired(a: Sequence[float], b: Sequence[float], *, z: float = Z_95) -> Interval:
    """Mean of b - a, shares of the same questions, with the interval of `mean_difference`."""
    return mean_difference([y - x for x, y in zip(a, b, strict=True)], z=z)


def repeats(tokens: Sequence[object], gram: int = 10, times: int = 3) -> bool:
    """Whether some n-gram of `gram` tokens occurs at least `times` times in the response."""
    grams = Counter(tuple(tokens[i : i + gram]) for i in range(len(tokens) - gram + 1))
    return bool(grams) and max(grams.values()) >= times
