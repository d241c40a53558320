"""Figures of paired values: the sign-flip test and the correlation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from esr_cli.base.statistics import Z_95, Interval

# All sign patterns of this many differences are enumerated; of more, DRAWS are drawn.
MOST_ENUMERATED = 20
DRAWS = 200_000


def sign_flip(differences: Sequence[float], null: float = 0.0) -> float:
    """One-sided p value that the mean of paired differences is above `null` (R. A. Fisher 1935).

    The share of all patterns of signs of `differences - null` whose mean is at least as large. It
    asks only that the differences lie symmetrically about `null` if the mean is no more than that.
    """
    gaps = np.asarray(differences, dtype=float) - null
    n = len(gaps)
    if n <= MOST_ENUMERATED:
        sums = np.zeros(1)
        for gap in gaps:
            sums = np.concatenate([sums + gap, sums - gap])
        return float((sums >= gaps.sum() - _slack(gaps)).mean())
    signs = np.random.default_rng(0).integers(0, 2, (DRAWS, n), dtype=np.int8) * 2 - 1
    reached = int((signs @ gaps >= gaps.sum() - _slack(gaps)).sum())
    return (reached + 1) / (DRAWS + 1)


def correlation(x: Sequence[float], y: Sequence[float]) -> Interval | None:
    """Pearson's correlation with its 95 % interval (R. A. Fisher's z).

    None for fewer than four pairs, or where one of the two does not vary.
    """
    if len(x) < 4 or min(np.ptp(x), np.ptp(y)) == 0:
        return None
    r = float(np.corrcoef(x, y)[0, 1])
    if abs(r) >= 1:
        return r, r, r
    z, half = math.atanh(r), Z_95 / math.sqrt(len(x) - 3)
    return r, math.tanh(z - half), math.tanh(z + half)


def _slack(gaps: np.ndarray) -> float:
    # Sums in another order differ in their last digits.
    return float(1e-9 * np.abs(gaps).sum())
