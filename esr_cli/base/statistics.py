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


def wilson(share: float, n: float) -> Interval:
    """A share of `n` yes/no outcomes with Wilson's interval (E. B. Wilson 1927)."""
    scale = 1 + Z_95**2 / n
    centre = (share + Z_95**2 / (2 * n)) / scale
    half = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n)) / scale
    # Rounding can put a bound a hair beyond the share itself.
    return share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def mean_interval(values: Sequence[float], samples: float = 1) -> Interval:
    """Mean of one share a question, each of `samples` yes/no outcomes.

    Wilson's interval for as many outcomes as would leave the mean as uncertain as the spread over
    questions says: no fewer than questions, no more than all samples. For a plain yes or no it is
    Wilson's own. It stays open where all agree, by what so few questions may never have shown.
    """
    n, mean = len(values), sum(values) / len(values)
    return wilson(mean, max(n, min(_outcomes(values, 0, 1), n * samples)))


def mean_difference(values: Sequence[float], most: float = 1.0) -> Interval:
    """Mean of one difference of shares a question, in [-most, most] brought to [0, 1].

    As `mean_interval`, for as many outcomes as the spread says: no fewer where questions differ
    seldom or little, and open where none differs.
    """
    mean = sum(values) / len(values)
    shares = [value / (2 * most) + 0.5 for value in values]
    outcomes = _outcomes(shares, 0.5 - 0.5 / most, 0.5 + 0.5 / most)
    _, low, high = wilson(mean / (2 * most) + 0.5, outcomes)
    return mean, min(mean, most * (2 * low - 1)), max(mean, most * (2 * high - 1))


def _outcomes(shares: Sequence[float], least: float, greatest: float) -> float:
    """The number of yes/no outcomes whose mean would vary as that of the shares does.

    The spread is that among z²/2 questions more at either extreme, which Wilson's centre counts
    with too, so that a few small differences are not taken for certainty.
    """
    n, more = len(shares), Z_95**2
    mean = (sum(shares) + more * (least + greatest) / 2) / (n + more)
    square = (sum(each**2 for each in shares) + more * (least**2 + greatest**2) / 2) / (n + more)
    return n * mean * (1 - mean) / (square - mean**2)


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


def summed_by(keys: Sequence[str], rows: Any) -> np.ndarray:
    """The rows of each key added up, in the order in which keys first come.

    For figures of responses, of which a question may have several: questions are what is resampled.
    """
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    array = np.asarray(rows, dtype=float)
    sums = np.zeros((len(places), *array.shape[1:]))
    np.add.at(sums, [places[key] for key in keys], array)
    return sums


def interval(found: float, draws: np.ndarray) -> Interval:
    """A figure with the percentile interval of its draws; draws that are not finite tell nothing.

    Without a draw that does, the figure stands alone.
    """
    told = draws[np.isfinite(draws)]
    if not len(told):
        return found, found, found
    low, high = np.quantile(told, [0.025, 0.975])
    return found, float(low), float(high)


def mean_bootstrap(values: Sequence[float], samples: float = 1) -> Interval:
    """Mean of one share a question by `bootstrap`, never narrower than `mean_interval`: where most
    questions agree, resampling them tells little.
    """
    mean, low, high = mean_interval(values, samples)
    _, drawn_low, drawn_high = bootstrap(values, lambda array: array.mean(-1))
    return mean, min(low, drawn_low), max(high, drawn_high)


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
    """Mean of b - a, shares of the same questions, with the interval of `mean_difference`."""
    return mean_difference([y - x for x, y in zip(a, b, strict=True)])


def over_seeds(
    by_seed: Sequence[Sequence[float]], over: Callable[[Sequence[float]], Interval]
) -> Interval:
    """Mean of one figure a question (rows: seeds), with an interval for new seeds and questions.

    The spread over seeds and the interval that `over` gives the questions' means add up in squares,
    which errs on the wide side. One seed tells of questions alone.
    """
    mean, low, high = over([sum(column) / len(column) for column in zip(*by_seed, strict=True)])
    spread = seed_spread([sum(row) / len(row) for row in by_seed])
    return mean, mean - math.hypot(spread, mean - low), mean + math.hypot(spread, high - mean)


def seed_spread(values: Sequence[float]) -> float:
    """Half the 95 % interval of the mean of one value a seed (Student's t); 0 for one seed, which
    tells nothing of others.
    """
    n, mean = len(values), sum(values) / len(values)
    if n == 1:
        return 0.0
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return error * (T_975[n - 2] if n - 1 <= len(T_975) else Z_95)


def repeats(tokens: Sequence[object], gram: int = 10, times: int = 3) -> bool:
    """Whether some run of `gram` tokens stands `times` times or more in the response."""
    grams = Counter(tuple(tokens[i : i + gram]) for i in range(len(tokens) - gram + 1))
    return bool(grams) and max(grams.values()) >= times
