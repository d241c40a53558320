"""Position weights and response lengths, on examples with known answers."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from esr_cli.config import loss as loss_config
from esr_cli.config.lengths import FULL_IN, SCHEDULES
from esr_cli.distill import kinds, lengths, positions
from esr_cli.distill.lengths import Lengths
from esr_cli.distill.positions import Rule, reduced, weights

T = 6
VALUES = {
    "kl_R": torch.tensor([0.1, 0.5, 0.0, 0.9, 0.2, 0.3]),
    "student_entropy_R": torch.tensor([1.0, 0.1, 2.0, 0.1, 1.0, 0.5]),
    "teacher_entropy_R": torch.tensor([0.5, 0.4, 0.3, 0.2, 0.1, 0.6]),
    "forward_kl_R": torch.tensor([0.4, 0.2, 0.9, 0.0, 0.1, 0.3]),
    "confidence_R": torch.tensor([0.9, 0.8, 0.95, 0.3, 0.9, 0.1]),
}
ALL = torch.ones(T, dtype=torch.bool)


def kept(usable=ALL, seed=0, **rule) -> list[int]:
    return weights(Rule(**rule), usable, VALUES, seed).nonzero()[:, 0].tolist()


def test_settings_offer_the_implemented_options():
    assert set(loss_config.DIVERGENCES) == set(kinds.KINDS)
    assert loss_config.SELECT == positions.SELECTORS == tuple(positions._SELECT)
    assert tuple(positions.RANKS) == loss_config.RANKS
    assert loss_config.SHAPES == positions.SHAPES == tuple(positions._SHAPE)
    assert loss_config.REDUCTIONS == positions.REDUCTIONS
    assert SCHEDULES == lengths.SCHEDULES and FULL_IN == lengths.FULL_IN


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"select": "window", "end": 2}, [0, 1]),
        ({"select": "window", "start": 2, "end": 4}, [2, 3]),
        ({"select": "window", "start": 4}, [4, 5]),
        ({"select": "window", "start": 9}, []),
        ({"select": "top", "keep": 2}, [1, 3]),
        ({"select": "top", "keep": 2, "by": ("student_entropy",)}, [0, 2]),
        ({"select": "top", "keep": 2, "by": ("teacher_entropy",)}, [0, 5]),
        # Products: 0.1 .05 0 .09 .2 .15, and with the teacher's: .05 .02 0 .018 .02 .09
        ({"select": "top", "keep": 2, "by": ("reverse_kl", "student_entropy")}, [4, 5]),
        (
            {
                "select": "top",
                "keep": 2,
                "by": ("reverse_kl", "teacher_entropy", "student_entropy"),
            },
            [0, 5],
        ),
        ({"select": "top", "keep": 99}, [0, 1, 2, 3, 4, 5]),
        ({"select": "top", "keep": 2, "by": ("forward_kl",)}, [0, 2]),
        ({"select": "last", "keep": 2}, [4, 5]),
        ({"select": "last", "keep": 9}, [0, 1, 2, 3, 4, 5]),
        # With an odd number left over, one position fewer before than after.
        ({"select": "middle", "keep": 2}, [2, 3]),
        ({"select": "middle", "keep": 3}, [1, 2, 3]),
        ({"select": "middle", "keep": 5}, [0, 1, 2, 3, 4]),
        ({"select": "middle", "keep": 9}, [0, 1, 2, 3, 4, 5]),
        ({"select": "confident", "confidence": 0.5}, [0, 1, 2]),
        ({"select": "confident", "confidence": 0.05}, [0, 1, 2, 3, 4, 5]),
        ({"select": "confident", "confidence": 0.91}, []),
    ],
)
def test_selectors(rule, expected):
    assert kept(**rule) == expected


def test_an_unusable_position_is_replaced_by_the_next_best():
    usable = torch.tensor([True, True, True, False, True, True])
    assert kept(usable, select="top", keep=2) == [1, 5]
    assert kept(usable, select="confident", confidence=0.5) == [0, 1, 2, 4]
    assert kept(usable, select="last", keep=3) == [2, 4, 5]
    assert kept(usable, select="middle", keep=3) == [1, 2, 4]
    assert 3 not in kept(usable, select="random", keep=5)
    assert len(kept(usable, select="random", keep=5)) == 5


def test_of_equal_scores_the_earlier_position_is_kept():
    values = {"kl_R": torch.zeros(4)}
    rule = Rule(select="top", keep=2)
    found = weights(rule, torch.ones(4, dtype=torch.bool), values, 0)
    assert found.tolist() == [1, 1, 0, 0]


def test_random_positions_are_reproducible_and_uniform():
    assert kept(select="random", keep=3, seed=1) == kept(select="random", keep=3, seed=1)
    counts = torch.zeros(T)
    for seed in range(600):
        counts[kept(select="random", keep=3, seed=seed)] += 1
    assert (counts / 600 - 0.5).abs().max() < 0.08


def test_shapes():
    found = weights(Rule(shape="linear", span=4), ALL, {}, 0)
    assert found.tolist() == [1, 0.75, 0.5, 0.25, 0, 0]
    found = weights(Rule(shape="exponential", span=2), ALL, {}, 0)
    assert found[[0, 2, 4]].tolist() == [1, 0.5, 0.25]
    found = weights(Rule(shape="cumulative_kl"), ALL, VALUES, 0)
    assert torch.allclose(found, torch.tensor([1, 0.95, 0.7, 0.7, 0.25, 0.15]))
    # A shape over a selection: the product of both.
    found = weights(Rule(select="window", start=1, end=3, shape="linear", span=4), ALL, {}, 0)
    assert found.tolist() == [0, 0.75, 0.5, 0, 0, 0]


def test_denominators_of_the_reductions():
    """Two responses of 1 and 3 tokens with divergences 8 and 1, 2, 3."""
    values = [torch.tensor([8.0]), torch.tensor([1.0, 2.0, 3.0])]
    expected = {"token_mean": 14 / 4, "sequence_mean": (8 + 2) / 2, "sequence_sum": (8 + 6) / 2}
    for name, value in expected.items():
        found, denominator = reduced([torch.ones(1), torch.ones(3)], name)
        total = sum((w * v).sum() for w, v in zip(found, values, strict=True))
        assert float(total) / denominator == pytest.approx(value), name


@pytest.mark.parametrize("reduction", positions.REDUCTIONS)
def test_micro_batches_add_up_and_an_empty_response_does_not_count(reduction):
    responses = [torch.rand(5), torch.zeros(3), torch.rand(2)]
    whole, denominator = reduced(responses, reduction)
    parts = [reduced([w], reduction) for w in responses]
    assert denominator == pytest.approx(sum(part[1] for part in parts))
    for a, (b, _) in zip(whole, parts, strict=True):
        assert torch.equal(a, b[0]) and torch.isfinite(a).all()
    if reduction == "sequence_mean":
        assert denominator == 2


def test_lengths_of_each_schedule():
    assert Lengths(64, 114).lengths_at(5, 3) == [64, 64, 64]
    grows = Lengths(64, 114, "linear", start=4, over=10)
    assert [grows.n_at(step) for step in (0, 5, 10, 99)] == [4, 34, 64, 64]
    stages = Lengths(64, 114, "steps", stages=((0, 16), (10, 32), (20, 999)))
    assert [stages.n_at(step) for step in (0, 9, 10, 20)] == [16, 16, 32, 64]
    assert Lengths(64, 1000, "share", share=0.1).n_at(3) == 100


@pytest.mark.parametrize(("count", "share"), [(16, 1 / 16), (16, 0.1), (3, 0.1), (4, 1.0)])
def test_a_mixture_keeps_its_share_over_the_run(count, share):
    mixed = Lengths(32, 114, full_share=share, seed=3)
    drawn = [mixed.lengths_at(step, count) for step in range(200)]
    assert {length for step in drawn for length in step} <= {32, 114}
    full = [sum(length == 114 for length in step) for step in drawn]
    assert abs(sum(full) - 200 * count * share) < 1 and max(full) - min(full) <= 1
    assert drawn == [mixed.lengths_at(step, count) for step in range(200)]
    if count == 16 and share == 1 / 16:
        # The index varies; otherwise it would always be the same prompt.
        assert len({step.index(114) for step in drawn}) > 10


@pytest.mark.parametrize("share", [1 / 16, 0.1, 1.0])
def test_interleaved_steps_are_full_with_all_their_responses(share):
    mixed = Lengths(32, 114, full_share=share, full_in="steps")
    drawn = [set(mixed.lengths_at(step, 16)) for step in range(320)]
    assert all(len(step) == 1 for step in drawn)
    full = [index for index, step in enumerate(drawn) if step == {114}]
    assert len(full) == int(320 * share)
    assert {b - a for a, b in pairwise(full)} == {round(1 / share)}


def test_random_lengths_have_a_mean_of_n_and_the_same_draw_again():
    lengths = Lengths(32, 114, "random", seed=4)
    drawn = [length for step in range(500) for length in lengths.lengths_at(step, 16)]
    assert (min(drawn), max(drawn)) == (1, 63) == (1, lengths.longest)
    # The standard error of the mean of 8,000 draws is 0.2.
    assert abs(sum(drawn) / len(drawn) - 32) < 0.8
    assert lengths.lengths_at(7, 16) == lengths.lengths_at(7, 16) != lengths.lengths_at(8, 16)
    assert max(Lengths(100, 114, "random").lengths_at(0, 999)) == 114
    assert 114 in Lengths(32, 114, "random", full_share=0.5).lengths_at(0, 16)


def test_the_longest_length_of_a_run():
    assert Lengths(32, 114).longest == 32
    assert Lengths(100, 114, "random").longest == 114
    assert Lengths(32, 114, "random", full_share=0.1).longest == 114
    assert Lengths(32, 114, full_share=0.1).longest == 114
    assert Lengths(64, 114, "linear", start=90, over=10).longest == 64
    assert Lengths(64, 114, "steps", stages=((0, 16), (4, 48), (9, 8))).longest == 48
