"""Intervals over seeds and questions: known answers."""

from __future__ import annotations

import math

import pytest

from esr_cli.base.distributions import t_tail
from esr_cli.base.seeds import Estimate, added, estimate, over_seeds, seed_error
from esr_cli.base.statistics import mean_interval


def test_seeds_that_agree_leave_the_interval_of_the_questions():
    right = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    found = over_seeds([right] * 3, mean_interval)
    assert (found.value, found.low, found.high) == pytest.approx(mean_interval(right))
    assert found.error == 0


def test_seeds_that_differ_alike_on_every_question_add_student_s_t():
    low, high = [0.2] * 50, [0.6] * 50
    found = over_seeds([low, low, high], mean_interval)
    # Means 0.2, 0.2, 0.6: standard error 0.4 / 3, and t with two degrees of freedom is 4.303.
    _, _, questions = mean_interval([1 / 3] * 50)
    assert found.error == pytest.approx(0.4 / 3) and found.df == 2
    expected = math.hypot(4.3027 * 0.4 / 3, questions - 1 / 3)
    assert found.high - found.value == pytest.approx(expected, rel=1e-3)


def test_the_noise_of_single_answers_counts_once_in_the_interval():
    # Two seeds that differ by one answer in 64, no more than answers of a question do by chance.
    rows = [[1, 0, 1, 0] * 16, [0, 1, 1, 0] * 15 + [1, 1, 1, 0]]
    found = over_seeds(rows, mean_interval)
    error, _ = seed_error([sum(row) / 64 for row in rows])
    assert error > 0 and found.high - found.value == pytest.approx(found.questions[1])
    # A p value counts both in full.
    assert found.half(1) == pytest.approx(math.hypot(12.706 * error, found.questions[1]), rel=1e-4)
    assert found.half(1) > found.high - found.value


def test_eleven_and_more_seeds_have_student_s_t_too():
    values = [0.5 + 0.01 * (-1) ** seed for seed in range(12)]
    error, df = seed_error(values)
    assert df == 11
    found = estimate(0.5, 0, 0, error, df)
    assert found.high - 0.5 == pytest.approx(2.20099 * error, rel=1e-4)
    assert seed_error([0.25]) == (0.0, math.inf)


def test_a_p_value_inverts_the_interval():
    seeds = estimate(5.0, 0, 0, 1.0, 2)
    assert seeds.tail(5.0, -1) == pytest.approx(t_tail(5.0, 2), rel=1e-6)
    both = estimate(5.0, 1.0, 1.0, 1.0, 2)
    assert both.tail(5.0 - both.low, -1) == pytest.approx(0.025, rel=1e-6)
    questions = Estimate(1.0, 0.0, 3.0)
    assert questions.tail(1.0, -1) == pytest.approx(0.025, rel=1e-4)
    assert questions.tail(-1.0, -1) == 1.0
    assert Estimate(1.0, -math.inf, math.inf).tail(9.0, -1) == 1.0


def test_errors_are_added_as_welch_does():
    error, df = added([(3.0, 2), (4.0, 2)])
    assert error == 5 and df == pytest.approx(625 / ((81 + 256) / 2))
    assert added([(3.0, 2), (0.0, math.inf)]) == (3.0, 2)
