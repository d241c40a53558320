"""Intervals, pass@k, votes, pairs: known answers."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from esr_cli.base import statistics
from esr_cli.graders.figures import Graded, Response, figures, grade_all
from esr_cli.graders.plain import PlainGrader
from esr_cli.types import Grade


def test_wilson_known_values():
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    share, low, high = statistics.wilson(81 / 263, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662) and share == 81 / 263
    assert round(statistics.wilson(0.0, 20)[2], 4) == 0.1611
    assert statistics.wilson(0.0, 20)[1] == 0.0


def test_several_samples_of_a_question_count_as_far_as_they_tell_apart():
    values = [0.25, 0.5, 0.75, 1.0]
    # The mean is 0.625, its square's 0.46875; z²/2 = 1.920730 questions more at 0 and at 1.
    more = 1.959964**2 / 2
    mean = (2.5 + more) / (4 + 2 * more)
    outcomes = 4 * mean * (1 - mean) / ((1.875 + more) / (4 + 2 * more) - mean**2)
    assert 4 < outcomes < 16
    assert statistics.mean_interval(values, 4) == pytest.approx(statistics.wilson(0.625, outcomes))
    assert statistics.mean_interval(values) == statistics.wilson(0.625, 4)
    # Samples of a question that all agree tell no more than one; those that never do, all.
    assert statistics.mean_interval([0, 1] * 50, 4) == pytest.approx(statistics.wilson(0.5, 100))
    assert statistics.mean_interval([0.5] * 50, 2) == statistics.wilson(0.5, 100)


def test_yes_or_no_gets_wilsons_interval_and_agreement_is_not_certainty():
    assert statistics.mean_interval([1, 0, 1, 1]) == statistics.wilson(0.75, 4)
    # 2 of 164 (Newcombe's method 3).
    few = statistics.mean_interval([1, 1] + [0] * 162)
    assert few[1:] == pytest.approx((0.0034, 0.0433), abs=1e-4)
    assert statistics.mean_bootstrap([1.0] * 10) == statistics.wilson(1.0, 10)
    assert statistics.mean_interval([1.0] * 10, 4) == pytest.approx(statistics.wilson(1.0, 10))


def share_held(intervals, truth):
    held = [(low <= truth + 1e-12) & (truth <= high + 1e-12) for _, low, high in intervals]
    return sum(held) / len(held)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.9, 0.99])
@pytest.mark.parametrize(("n", "samples"), [(50, 8), (128, 4), (200, 2), (500, 1)])
@pytest.mark.parametrize("alike", [0.1, 0.5])
def test_an_interval_of_shares_holds_the_truth_as_often_as_it_says(p, n, samples, alike):
    # Questions differ in how hard they are: beta-binomial, `alike` between samples of a question.
    rng = np.random.default_rng(0)
    hard = rng.beta(p * (1 / alike - 1), (1 - p) * (1 / alike - 1), (400, n))
    drawn = (rng.binomial(samples, hard) / samples).tolist()
    # 95 % of 400 trials, three standard errors below.
    assert share_held([statistics.mean_interval(row, samples) for row in drawn], p) > 0.917


@pytest.mark.parametrize(
    ("better", "worse"), [(0.0, 0.004), (0.02, 0.02), (0.1, 0.05), (0.6, 0.1), (0.98, 0.0)]
)
def test_an_interval_of_differences_holds_the_truth_as_often_as_it_says(better, worse):
    rng = np.random.default_rng(0)
    for n in (50, 128, 500):
        luck = rng.random((300, n))
        drawn = (luck < better) * 1.0 - (luck > 1 - worse)
        found = map(statistics.mean_difference, drawn.tolist())
        assert share_held(found, better - worse) > 0.912
        # A difference of two such, as of falls.
        twice = (drawn - np.roll(drawn, 1, axis=0)).tolist()
        assert share_held([statistics.mean_difference(row, most=2) for row in twice], 0.0) > 0.912


def test_resampled_intervals_hold_the_truth_too():
    rng = random.Random(0)
    drawn = [[float(rng.random() < 0.7) for _ in range(60)] for _ in range(200)]
    assert share_held(map(statistics.mean_bootstrap, drawn), 0.7) >= 0.885


@pytest.mark.parametrize(
    ("k", "n", "right"), [(1, 4, 1), (2, 4, 1), (4, 4, 1), (3, 5, 2), (2, 6, 0)]
)
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(k, n, right):
    subsets = list(itertools.combinations([True] * right + [False] * (n - right), k))
    expected = sum(map(any, subsets)) / len(subsets)
    assert statistics.pass_at(k, n, right) == pytest.approx(expected)


def test_pass_at_more_than_there_are_is_a_broken_invariant():
    with pytest.raises(AssertionError):
        statistics.pass_at(5, 4, 1)


@pytest.mark.parametrize(
    ("votes", "right", "value"),
    [
        ([0, 0, 2, 0], [True, True, False, True], 1.0),
        ([0, 1, 1, None], [True, False, False, False], 0.0),
        ([0, 1, None, None], [True, False, False, False], 0.5),  # a tie is a fair draw
        ([0, 1, 2, None], [True, False, False, False], 1 / 3),
        ([None, None], [False, False], 0.0),  # nobody votes
        ([None, None, None, 3], [False, False, False, True], 1.0),  # no answer is no vote
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
    # Fifty questions that all but agree leave open what they never showed.
    assert mean == pytest.approx(0.55) and 0.46 < low < mean < high < 0.64


@pytest.mark.parametrize("samples", [1, 2, 4, 8])
def test_more_wrong_answers_never_raise_a_bound(samples):
    for n in (8, 50, 164, 1000):
        last = statistics.mean_interval([1.0] * n, samples)
        for wrong in range(1, min(12, samples * n)):
            shares = [1 - (wrong // n + (each < wrong % n)) / samples for each in range(n)]
            found = statistics.mean_interval(shares, samples)
            assert all(ours <= before + 1e-4 for ours, before in zip(found, last, strict=True))
            last = found


def test_a_difference_that_was_never_seen_is_open_about_as_far_as_wilson_says():
    wide = statistics.paired([0.5] * 40, [0.5] * 40)
    assert wide[2] == pytest.approx(-wide[1])
    assert wide[2] == pytest.approx(statistics.wilson(0, 40)[2], rel=0.05)
    near = statistics.paired([0.5] * 40, [0.5] * 39 + [0.75])
    assert near[2] - near[1] > wide[2] - wide[1]
    # All differ, which is as sure as a yes of each.
    sure = 2 * statistics.wilson(1, 40)[1] - 1
    assert statistics.paired([0] * 40, [1] * 40)[1] == pytest.approx(sure)
    # How one fall differs from another lies within 2, and is no less sure when it is nothing.
    falls = statistics.mean_difference([0.0] * 40, most=2)
    assert falls[2] == pytest.approx(wide[2], rel=0.05)


def test_seeds_and_questions_add_up_in_squares():
    over = statistics.mean_interval
    _, low, high = over([0.5, 0.5, 0.0, 1.0])
    mean, wide_low, wide_high = statistics.over_seeds([[1, 0, 0, 1], [0, 1, 0, 1]], over)
    assert (mean, wide_low, wide_high) == pytest.approx((0.5, low, high))
    # Means 0.25 and 0.75: Student's t with one degree of freedom is 12.706, the error 0.25.
    _, _, spread = statistics.over_seeds([[0, 0, 0, 1], [1, 1, 0, 1]], over)
    assert spread - 0.5 > 12.706 * 0.25
    assert statistics.seed_spread([0.25, 0.75]) == pytest.approx(12.706 * 0.25)
    assert statistics.seed_spread([0.25]) == 0.0


def grader():
    return PlainGrader(
        lambda text, gold: Grade(text == gold, "", text or None, {"boxed": bool(text)})
    )


def graded_responses():
    def said(*texts, finish="stop"):
        return [Response(text, tokens=len(text), finish=finish) for text in texts]

    return grade_all(
        grader(),
        [
            ("a", "x", said("x", "x", "y", "x")),
            ("b", "x", said("y", "y", "x", "")),
            ("c", "x", said("", "", "", "", finish="length")),
        ],
    )


def test_figures_of_three_questions():
    rows = {row["metric"]: row for row in figures(graded_responses(), grader(), [1, 2, 4])}
    assert next(iter(rows)) == "avg@4"
    assert rows["avg@4"]["value"] == pytest.approx((3 / 4 + 1 / 4 + 0) / 3)
    assert rows["pass@1"]["value"] == pytest.approx(rows["avg@4"]["value"])
    assert rows["pass@2"]["value"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert rows["pass@4"]["value"] == pytest.approx(2 / 3)
    assert rows["maj@4"]["value"] == pytest.approx(1 / 3)
    assert rows["boxed"]["value"] == pytest.approx((1 + 3 / 4 + 0) / 3)
    assert rows["truncated"]["value"] == rows["ended"]["value"] / 2 == pytest.approx(1 / 3)
    assert rows["length_tokens/mean"]["value"] == pytest.approx(7 / 12)
    assert all(row["low"] <= row["value"] <= row["high"] and row["n"] == 3 for row in rows.values())
    shares = statistics.mean_interval([3 / 4, 1 / 4, 0], 4)
    assert (rows["avg@4"]["low"], rows["avg@4"]["high"]) == pytest.approx(shares[1:])


def test_a_verdict_not_made_apart_is_the_verdict_itself():
    judged = [Grade(True, "", also={"base": True}), Grade(True, ""), Grade(False, "")]
    graded = [Graded(str(i), (Response("x"),), (grade,)) for i, grade in enumerate(judged)]
    rows = {row["metric"]: row["value"] for row in figures(graded, grader(), [])}
    assert rows["base@1"] == pytest.approx(2 / 3)


def test_votes_are_grouped_by_the_graders_equality():
    class Lenient(PlainGrader):
        def equal(self, pairs):
            return [one.lower() == other.lower() for one, other in pairs]

    responses = [Response(text) for text in ("y", "x", "Y", "X", "Y")]
    judge = Lenient(lambda text, gold: Grade(text.lower() == gold, "", text))
    rows = figures(grade_all(judge, [("a", "y", responses)] * 2), judge, [])
    assert next(row for row in rows if row["metric"] == "maj@5")["value"] == 1.0


def test_lengths_without_tokens_are_characters_and_nothing_is_said_of_the_end():
    graded = [Graded("a", (Response("abc"),), (Grade(True, ""),))] * 2
    names = [row["metric"] for row in figures(graded, grader(), [])]
    assert "length_characters/p50" in names and "truncated" not in names
    assert "maj@1" not in names


def test_repeats():
    assert statistics.repeats([*range(10)] * 3)
    assert not statistics.repeats([*range(10)] * 2)
    assert not statistics.repeats([])
