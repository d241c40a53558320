"""Means over seeds and differences of conditions, compared with known answers."""

from __future__ import annotations

import math
from functools import partial

import pytest
from run_folders import write_run

from esr_cli.base.seeds import over_seeds
from esr_cli.base.statistics import mean_difference, mean_interval, share_interval
from esr_cli.report import number, numbers
from esr_cli.report.book import open_book
from esr_cli.report.tables import Cell, cell

GOOD, BAD = [1, 1], [0, 0]


@pytest.fixture
def group(tmp_path):
    """Two seeds each of full rollouts, which fall from their best checkpoint, and of ESR."""
    for seed, last in ((0, [GOOD, GOOD, BAD, BAD]), (1, [GOOD, BAD, BAD, BAD])):
        write_run(tmp_path / f"full{seed}", "+rollout_len=full", f"seed={seed}", seconds=4 + seed,
                  right={0: [BAD] * 4, 1: [GOOD, GOOD, GOOD, BAD], 2: last})  # fmt: skip
        write_run(tmp_path / f"esr{seed}", "+rollout_len=32", f"seed={seed}", length=50.0,
                  right={0: [BAD] * 4, 1: [GOOD, GOOD, BAD, BAD], 2: [GOOD] * 4})  # fmt: skip
    (found,) = open_book(tmp_path).groups
    return found


def test_accuracy_is_the_mean_over_seeds_at_the_moment(group):
    (full,) = group.chosen("full")
    last = numbers.accuracy(full, "lab", "last")
    assert last.seeds == (0.5, 0.25) and last.value == 0.375
    # Two responses per question and two seeds.
    found = over_seeds([[1, 1, 0, 0], [1, 0, 0, 0]], partial(mean_interval, samples=4))
    assert (last.low, last.high) == (max(0, found.low), min(1, found.high))
    assert numbers.accuracy(full, "lab", "best").seeds == (0.75, 0.75)


def test_two_conditions_are_compared_on_the_same_seeds_and_questions(group):
    (full,), (main,) = group.chosen("full"), group.chosen("main")
    found = numbers.difference(main, full, "lab", "last")
    assert found.seeds == (0.5, 0.75)
    over = over_seeds([[0, 0, 1, 1], [0, 1, 1, 1]], mean_difference)
    # With two seeds the interval is wide, but a difference of shares cannot exceed 1.
    assert over.high > 1
    assert (found.value, found.low, found.high) == pytest.approx((over.value, over.low, 1))


def test_full_rollouts_fall_further(group):
    (full,), (main,) = group.chosen("full"), group.chosen("main")
    assert numbers.fall(full, "lab").seeds == (0.25, 0.5)
    # ESR is best at its last step, so its fall is zero.
    assert numbers.fall_difference(full, main, "lab").seeds == (0.25, 0.5)


def test_equal_answers_still_have_an_interval(group):
    (main,) = group.chosen("main")
    last = numbers.accuracy(main, "lab", "last")
    assert last.value == 1 and last.low == pytest.approx(1 - share_interval(0, 4)[2])


def test_a_ratio_of_means_lies_in_its_interval(group):
    (full,), (main,) = group.chosen("full"), group.chosen("main")
    slow, fast = (numbers.phase_seconds(condition, "step") for condition in (full, main))
    assert (slow.value, fast.value) == (4.5, 1.0)
    found = number.ratio(slow, fast)
    assert found.value == pytest.approx(4.5) and found.low < 4.5 < found.high
    lengths = [
        numbers.metric(condition, "lab", "length_tokens/mean", "last") for condition in (main, full)
    ]
    assert number.ratio(*lengths).value == pytest.approx(0.5)


def test_the_interval_of_a_share_stays_among_shares(group):
    (full,), (main,) = group.chosen("full"), group.chosen("main")
    for condition in (full, main):
        found = numbers.metric(condition, "lab", "repeats", "last")
        assert found.value == found.low == 0 and found.high < 0.2
    over = numbers.metric(full, "lab", "avg@2", "last")
    assert (over.value, over.low, over.high) == (0.375, 0, 1)  # two seeds
    assert numbers.metric(main, "lab", "length_tokens/mean", "last").high > 50


def test_over_runs_adds_spread_and_width_in_squares():
    one = number.over_runs([(2.0, 1.5, 3.0)])
    assert (one.value, one.low, one.high) == (2.0, 1.5, 3.0)
    two = number.over_runs([(2.0, 1.5, 3.0), (4.0, 3.5, 5.0)])
    # Student's t with one degree of freedom: 12.706 times the standard error of 1.
    assert two.value == 3 and two.high - 3 == pytest.approx(math.hypot(12.706, 1), rel=1e-3)


def test_an_evaluation_without_responses_still_counts(tmp_path):
    folder = write_run(tmp_path / "a", "+rollout_len=32", right={0: [BAD], 1: [GOOD]})
    (folder / "generations.jsonl").unlink()
    (group,) = open_book(tmp_path).groups
    found = numbers.accuracy(group.chosen("main")[0], "lab", "last")
    assert (found.value, found.low) == (1.0, 0.95)


def test_seconds_and_the_peak_of_one_run_have_no_interval(tmp_path):
    for n in (32, "full"):
        write_run(tmp_path / f"n{n}", f"+rollout_len={n}", right={0: [BAD], 1: [GOOD]})
    (group,) = open_book(tmp_path).groups
    (main,), (full,) = group.chosen("main"), group.chosen("full")
    found = number.ratio(numbers.peak_gib(full), numbers.peak_gib(main))
    assert found.value == 1 and not math.isfinite(found.high)
    assert cell(numbers.peak_gib(main), "{:.2f}", 1) == Cell("2.00")
    # The steps of one run are no sample of runs, however many there are.
    seconds = numbers.phase_seconds(main, "step")
    assert seconds.value == 1 and not math.isfinite(seconds.high)


def test_a_difference_of_independent_numbers_is_welch_s():
    one, other = number.over_plain_runs([1.0, 2.0, 3.0]), number.over_plain_runs([0.0, 0.0, 6.0])
    found = number.minus(other, one)
    # Standard errors 2 and 1/√3: df = (4 + 1/3)² / (16/2 + 1/9/2) = 2.33, whose t is 3.766.
    assert found.df == pytest.approx((13 / 3) ** 2 / (8 + 1 / 18))
    assert found.high == pytest.approx(3.766 * math.sqrt(13 / 3), rel=1e-3)
