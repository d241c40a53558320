"""Beta and Student's t: tails and quantiles, which the standard library lacks."""

from __future__ import annotations

import math
from functools import lru_cache

TINY = 1e-300


def beta_cdf(x: float, a: float, b: float) -> float:
    """P(X <= x) for X of a beta distribution with positive `a` and `b`.

    The continued fraction of the incomplete beta function (NIST Handbook, 8.17.22), by Lentz.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front += a * math.log(x) + b * math.log1p(-x)
    value, c, d = 1.0, 1.0, 0.0
    for step in range(2000):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _nonzero(1 + term * d)
        c = _nonzero(1 + term / c)
        value *= c * d
        if step > 1 and abs(1 - c * d) < 1e-13:
            break
    return min(1.0, math.exp(front) * (value - 1) / a)


def beta_quantile(share: float, a: float, b: float) -> float:
    """The x with `beta_cdf(x, a, b) = share`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if beta_cdf(middle, a, b) < share else (low, middle)
    return (low + high) / 2


def t_tail(t: float, df: float) -> float:
    """P(T > t) for Student's t with `df` degrees of freedom, which may be infinite."""
    if math.isinf(df):
        return 0.5 * math.erfc(t / math.sqrt(2))
    tail = 0.5 * beta_cdf(df / (df + t * t), df / 2, 0.5)
    return tail if t >= 0 else 1 - tail


@lru_cache(maxsize=4096)
def t_quantile(share: float, df: float) -> float:
    """The t with P(T <= t) = `share`, for a share from one half to below 1."""
    low, high = 0.0, 1.0
    while t_tail(high, df) > 1 - share:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, df) > 1 - share else (low, middle)
    return (low + high) / 2


def _nonzero(value: float) -> float:
    return value if abs(value) > TINY else TINY
