"""Settings of the optimizer: learning rates on known answers, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import read
from transformers import get_cosine_schedule_with_warmup

from esr_cli.config import ConfigError, TuneConfig


def rates(steps, **settings):
    tune = TuneConfig(learning_rate=1.0, **settings)
    return [tune.rate(step, steps) for step in range(steps)]


def test_a_cosine_falls_to_zero_over_the_steps_after_the_warm_up():
    found = rates(10, schedule="cosine", warmup_steps=2)
    assert found[:3] == [0.5, 1.0, 1.0]
    # Eight steps after the warm-up: half the rate after four of them, and zero after all.
    assert found[6] == pytest.approx(0.5)
    assert found[9] == pytest.approx((1 + math.cos(math.pi * 7 / 8)) / 2)
    assert TuneConfig(learning_rate=1.0, schedule="cosine").rate(10, 10) == 0


def test_a_cosine_is_that_of_transformers_after_the_warm_up():
    """Before it ours is a step ahead: transformers' first step has a rate of zero."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, 4, 20)
    theirs = [schedule.lr_lambdas[0](step) for step in range(20)]
    ours = rates(20, schedule="cosine", warmup_share=0.2)
    assert ours[4:] == pytest.approx(theirs[4:], abs=1e-12)
    assert ours[:4] == theirs[1:5] and theirs[0] == 0


def test_a_linear_schedule_falls_from_the_first_step():
    assert rates(4, schedule="linear") == [1, 0.75, 0.5, 0.25]
    assert rates(4, schedule="linear", warmup_steps=2) == [0.5, 0.75, 0.5, 0.25]
    assert rates(3) == [1, 1, 1]


@pytest.mark.parametrize(
    ("share", "steps", "expected"),
    [(0.1, 200, 20), (0.07, 100, 7), (0.29, 100, 29), (0.1, 4, 0), (0.0, 9, 0)],
)
def test_a_share_of_warm_up_is_rounded_to_steps(share, steps, expected):
    assert TuneConfig(warmup_share=share).warmup(steps) == expected
    assert rates(steps, warmup_share=share) == rates(steps, warmup_steps=expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["tune=lab_lora", "tune.warmup_share=0.1"], "tune.warmup_share=0.1: tune.warmup_steps=5"),
        (["tune.warmup_steps=0", "tune.warmup_share=1"], "tune.warmup_share=1.0: give a share"),
        (["tune.schedule=cosinus"], "tune.schedule=cosinus: choose one of constant, linear, cos"),
        (["tune=full", "tune.dropout=0.05"], "tune.dropout=0.05: only LoRA has dropout"),
        (["tune=lora", "tune.dropout=1"], r"tune.dropout=1.0: give a share in \[0, 1\)"),
        (["tune=lora", "tune.master=none"], "tune.master=none: LoRA's adapters are always fp32"),
        (["tune=full", "tune.master=bfloat16"], "tune.master=bfloat16: choose one of float32"),
    ],
)
def test_what_does_not_fit_together_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        read(*given)
