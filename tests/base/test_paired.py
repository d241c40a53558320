"""The sign-flip test and the correlation, on values known by hand."""

from __future__ import annotations

import math

import pytest

from esr_cli.base.paired import correlation, sign_flip


def test_sign_flips_are_counted_exactly():
    assert sign_flip([1.0, 2.0, 3.0]) == 1 / 8
    # +++ 2, -++ 4, +-+ 0 and --+ 2 reach 2.
    assert sign_flip([-1.0, 1.0, 2.0]) == 3 / 8
    assert sign_flip([0.0, 0.0]) == 1.0


def test_a_null_below_asks_for_less():
    inferior = [-0.5, -0.5, -0.5, -0.5]
    assert sign_flip(inferior) == 1.0
    assert sign_flip(inferior, null=-1.0) == 1 / 16


def test_many_differences_are_drawn_close_to_the_exact_share():
    half = [1.0, -1.0] * 15
    exact = sum(math.comb(30, k) for k in range(15, 31)) / 2**30
    assert sign_flip(half) == pytest.approx(exact, abs=0.005)
    assert sign_flip([1.0] * 25) < 1e-5


def test_equal_sums_in_another_order_count():
    assert sign_flip([0.1, 0.2, 0.3, -0.3]) == sign_flip([-0.3, 0.3, 0.2, 0.1])


def test_a_correlation_has_fisher_s_interval():
    r, low, high = correlation([1, 2, 3, 4, 5], [1, 3, 2, 5, 4])
    assert r == pytest.approx(0.8)
    half = 1.959964 / math.sqrt(2)
    assert (low, high) == pytest.approx(
        (math.tanh(math.atanh(0.8) - half), math.tanh(math.atanh(0.8) + half)), abs=1e-4
    )
    assert correlation([1, 2, 3], [1, 2, 3]) is None
    assert correlation([1, 1, 1, 1], [1, 2, 3, 4]) is None
