"""Intervals, pass@k, votes, pairs: known answers."""

from __future__ import annotations

import itertools
import random

import pytest

from esr_cli import statistics
from esr_cli.graders.figures import Graded, Response, figures, grade_all
from esr_cli.graders.plain import PlainGrader
from esr_cli.types import Grade


def test_wilson_known_values():
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    share, low, high = statistics.wilson(81 / 263, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662) and share == 81 / 263
    assert round(statistics.wilson(0.0, 20)[2], 4) == 0.1611
    assert statistics.wilson(0.0, 20)[1] == 0.0


def test_the_mean_takes_its_error_over_questions():
    values = [0.25, 0.5, 0.75, 1.0]
    mean, low, high = statistics.mean_interval(values)
    assert mean == 0.625
    # Wilson's formula with z = 1.959964, and 0.078125 in place of share * (1 - share).
    z2, n = 1.959964**2, 4
    half = (z2 * 0.078125 / n + z2**2 / (4 * n * n)) ** 0.5 / (1 + z2 / n)
    assert high - low == pytest.approx(2 * half)
    assert (high + low) / 2 == pytest.approx((mean + z2 / (2 * n)) / (1 + z2 / n))


def test_yes_or_no_gets_wilsons_interval_and_agreement_is_not_certainty():
    assert statistics.mean_interval([1, 0, 1, 1]) == statistics.wilson(0.75, 4)
    # 2 of 164 (Newcombe's method 3).
    few = statistics.mean_interval([1, 1] + [0] * 162)
    assert few[1:] == pytest.approx((0.0034, 0.0433), abs=1e-4)
    assert statistics.mean_bootstrap([1.0] * 10) == statistics.wilson(1.0, 10)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = random.Random(0)
    methods = {
        statistics.mean_interval: lambda: [sum(rng.random() < 0.7 for _ in range(4)) / 4] * 1,
        statistics.mean_bootstrap: lambda: [float(rng.random() < 0.7)],
    }
    for method, draw in methods.items():
        held = 0
        for _ in range(200):
            _, low, high = method([draw()[0] for _ in range(60)])
            held += low <= 0.7 <= high
        # 95 % of 200 trials, four standard errors either side.
        assert 177 <= held <= 200, (method.__name__, held)


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
    assert mean == pytest.approx(0.55) and 0.43 < low < mean < high < 0.59


@pytest.mark.parametrize("method", [statistics.mean_interval, statistics.mean_bootstrap])
@pytest.mark.parametrize("level", [0.0, 0.25, 0.5, 0.7, 1.0])
def test_full_agreement_is_never_wider_than_a_little_less_of_it(method, level):
    _, low, high = method([level] * 164)
    for other in (0.0, 0.5, 0.75, 1.0):
        _, near_low, near_high = method([level] * 163 + [other])
        assert 0 < high - low <= near_high - near_low + 1e-9


def test_a_difference_that_was_never_seen_is_open_as_far_as_wilson_says():
    wide = statistics.paired([0.5] * 40, [0.5] * 40)
    assert wide[2] == -wide[1] == pytest.approx(statistics.wilson(0, 40)[2])
    near = statistics.paired([0.5] * 40, [0.5] * 39 + [0.75])
    assert near[2] - near[1] > wide[2] - wide[1]


def test_seeds_and_questions_add_up_in_squares():
    _, low, high = statistics.mean_interval([0.5, 0.5, 0.0, 1.0])
    mean, wide_low, wide_high = statistics.over_seeds([[1, 0, 0, 1], [0, 1, 0, 1]])
    assert (mean, wide_low, wide_high) == pytest.approx((0.5, low, high))
    # Means 0.25 and 0.75: Student's t with one degree of freedom is 12.706, the error 0.25.
    _, _, spread = statistics.over_seeds([[0, 0, 0, 1], [1, 1, 0, 1]])
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
