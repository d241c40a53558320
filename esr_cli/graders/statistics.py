"""Means with intervals, and how often responses repeat themselves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

Z_95 = 1.959964


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of one value a question with its 95 % interval, clipped to [0, 1].

    The standard error is taken over questions; with fewer than two the interval is [0, 1].
    """
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, 0.0, 1.0
    variance = sum((value - mean) ** 2 for value in values) / (n - 1)
    half = Z_95 * math.sqrt(variance / n)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def repeats(token_ids: Sequence[int], gram: int = 10, times: int = 3) -> bool:
    """Whether some run of `gram` tokens stands `times` times or more in the response."""
    grams = Counter(tuple(token_ids[i : i + gram]) for i in range(len(token_ids) - gram + 1))
    return bool(grams) and max(grams.values()) >= times
