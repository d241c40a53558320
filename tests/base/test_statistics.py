"""Intervals, pass@k, maj@k and paired differences, on known values."""

from __future__ import annotations

import itertools
import math

import pytest

from esr_cli.base import statistics


def test_wilson_known_values():
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    share, low, high = statistics.wilson(81 / 263, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662) and share == 81 / 263
    assert round(statistics.wilson(0.0, 20)[2], 4) == 0.1611
    assert statistics.wilson(0.0, 20)[1] == 0.0


def test_the_effective_number_of_samples_depends_on_their_correlation():
    values = [0.25, 0.5, 0.75, 1.0]
    # Mean 0.625, mean square 0.46875; z²/2 = 1.920730 additional questions at 0 and at 1.
    more = 1.959964**2 / 2
    mean = (2.5 + more) / (4 + 2 * more)
    outcomes = 4 * mean * (1 - mean) / ((1.875 + more) / (4 + 2 * more) - mean**2)
    assert 4 < outcomes < 16
    assert statistics.mean_interval(values, 4) == pytest.approx(
        statistics.share_interval(0.625, outcomes)
    )
    assert statistics.mean_interval(values) == statistics.share_interval(0.625, 4)
    # Fully correlated samples of a question count as one; uncorrelated samples all count.
    assert statistics.mean_interval([0, 1] * 50, 4) == pytest.approx(statistics.wilson(0.5, 100))
    assert statistics.mean_interval([0.5] * 50, 2) == statistics.wilson(0.5, 100)


def test_binary_values_get_wilsons_interval_but_for_the_bound_near_an_extreme():
    middle = statistics.mean_interval([1, 0] * 20)
    assert middle == statistics.wilson(0.5, 40)
    # 2 of 164: Wilson has 0.0034 below (Newcombe's method 3), the exact bound is wider.
    few = statistics.mean_interval([1, 1] + [0] * 162)
    assert few[2] == pytest.approx(0.0433, abs=1e-4) and few[1] < 0.0034
    # The share at which two or more of 164 have a probability of 5 %.
    p = few[1]
    assert 1 - (1 - p) ** 164 - 164 * p * (1 - p) ** 163 == pytest.approx(0.05)
    assert statistics.mean_bootstrap([1.0] * 10) == statistics.wilson(1.0, 10)
    assert statistics.mean_interval([1.0] * 10, 4) == pytest.approx(statistics.wilson(1.0, 10))


@pytest.mark.parametrize(
    ("k", "n", "right"), [(1, 4, 1), (2, 4, 1), (4, 4, 1), (3, 5, 2), (2, 6, 0)]
)
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_response(k, n, right):
    subsets = list(itertools.combinations([True] * right + [False] * (n - right), k))
    expected = sum(map(any, subsets)) / len(subsets)
    assert statistics.pass_at(k, n, right) == pytest.approx(expected)


def test_pass_at_k_requires_k_of_at_most_n():
    with pytest.raises(AssertionError):
        statistics.pass_at(5, 4, 1)


@pytest.mark.parametrize(
    ("votes", "right", "value"),
    [
        ([0, 0, 2, 0], [True, True, False, True], 1.0),
        ([0, 1, 1, None], [True, False, False, False], 0.0),
        ([0, 1, None, None], [True, False, False, False], 0.5),  # a tie counts as a uniform draw
        ([0, 1, 2, None], [True, False, False, False], 1 / 3),
        ([None, None], [False, False], 0.0),  # no votes
        (
            [None, None, None, 3],
            [False, False, False, True],
            1.0,
        ),  # None does not vote
    ],
)
def test_majority(votes, right, value):
    assert statistics.majority(votes, right) == pytest.approx(value)


def test_equal_answers_are_one_vote():
    answers = ["1/2", None, "0.5", "3", "1/2"]
    same = {("1/2", "0.5")}
    votes = statistics.ballots(answers, lambda a, b: a == b or (a, b) in same)
    assert votes == [0, None, 0, 3, 0]


def test_paired_difference():
    mean, low, high = statistics.paired([0, 0, 1, 1], [1, 0, 1, 1])
    assert mean == 0.25 and low < 0 < high
    mean, low, high = statistics.paired([0.0] * 50, [0.5, 0.6] * 25)
    # Fifty nearly equal differences still give an interval of some width.
    assert mean == pytest.approx(0.55) and 0.46 < low < mean < high < 0.64


@pytest.mark.parametrize("samples", [1, 2, 4, 8])
def test_more_wrong_answers_never_raise_a_bound(samples):
    for n in (8, 50, 164, 1000):
        last = statistics.mean_interval([1.0] * n, samples)
        for wrong in range(1, min(12, samples * n)):
            shares = [1 - (wrong // n + (i < wrong % n)) / samples for i in range(n)]
            found = statistics.mean_interval(shares, samples)
            assert all(ours <= before + 1e-4 for ours, before in zip(found, last, strict=True))
            last = found


def test_equal_values_give_a_difference_about_as_wide_as_wilsons_interval():
    wide = statistics.paired([0.5] * 40, [0.5] * 40)
    assert wide[2] == pytest.approx(-wide[1])
    # Two differences of 1, one each way, among 42 questions: 1.96 times their standard error.
    assert wide[2] == pytest.approx(1.96 * math.sqrt(2 / 42 / 40), rel=0.05)
    near = statistics.paired([0.5] * 40, [0.5] * 39 + [0.75])
    assert near[2] - near[1] > wide[2] - wide[1]
    # All differ by one: as certain as one positive outcome per question.
    sure = 2 * statistics.wilson(1, 40)[1] - 1
    assert statistics.paired([0] * 40, [1] * 40)[1] == pytest.approx(sure)
    # A difference of differences lies in [-2, 2], with the same width if none differs.
    falls = statistics.mean_difference([0.0] * 40, most=2)
    assert falls[2] == pytest.approx(wide[2], rel=0.05)


def test_repeats():
    assert statistics.repeats([*range(10)] * 3)
    assert not statistics.repeats([*range(10)] * 2)
    assert not statistics.repeats([])
