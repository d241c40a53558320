"""Beta and Student's t as plain floats, by scipy."""

from __future__ import annotations

from scipy.special import betaincinv, stdtr, stdtrit


def beta_quantile(share: float, a: float, b: float) -> float:
    """The x with P(X <= x) = `share` for X of a beta distribution."""
    return float(betaincinv(a, b, share))


def t_tail(t: float, df: float) -> float:
    """P(T > t) for Student's t with `df` degrees of freedom, which may be infinite."""
    return float(stdtr(df, -t))


def t_quantile(share: float, df: float) -> float:
    """The t with P(T <= t) = `share`; `df` may be infinite."""
    return float(stdtrit(df, share))
