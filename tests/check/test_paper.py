"""The seconds of a step on paper: `floors` over the GPUs of each role, and the network."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import read, shape_of_1p5b

from esr_cli.check.floors import Ceilings
from esr_cli.check.paper import (
    Gpus,
    Machine,
    Step,
    findings,
    gpu_bytes,
    handed_bytes,
    seconds,
    state_bytes,
)
from esr_cli.config import TuneConfig
from esr_cli.models import outlines
from esr_cli.models.outlines import trained_parameters
from esr_cli.models.shapes import cache_bytes, weight_bytes

SHAPE = shape_of_1p5b()
MODEL = outlines.outline(SHAPE)
SIZE = weight_bytes(SHAPE, 1)
COUNT = trained_parameters(MODEL, TuneConfig(method="full"))
FULL = TuneConfig(method="full", micro_batch_tokens=10_000)
LORA = TuneConfig(method="lora", rank=8, targets=["q_proj"])
STEP = Step(MODEL, MODEL, responses=10, prompt=60, length=40, tune=FULL)
# Bytes cost nothing, and a FLOP a second.
FREE = Machine(Ceilings(1e30, 1.0, "bfloat16"), 1e30, 1e30, capacity=1e12)


def test_phases_are_divided_by_the_gpus_of_their_role():
    one = seconds(STEP, Gpus(shared=True), FREE)
    phases = ("generate", "score", "train", "sync")
    assert one["sum"] == one["ahead"] == pytest.approx(sum(one[phase] for phase in phases))
    # Two FLOPs a parameter and token, and some for attention.
    body = SIZE - SHAPE.vocab_size * SHAPE.hidden_size
    assert one["score"] == pytest.approx(2 * body * 1000, rel=0.01)
    many = seconds(STEP, Gpus(trainers=3, teachers=2, engines=5), FREE)
    for phase, count in (("train", 3), ("score", 2), ("generate", 5)):
        assert many[phase] == pytest.approx(one[phase] / count, rel=1e-6), phase
    longest = max(many["generate"], many["score"] + many["train"])
    assert many["ahead"] == pytest.approx(longest + many["sync"])


def test_a_prompt_of_several_responses_is_read_once():
    one, five = (seconds(replace(STEP, samples=k), Gpus(shared=True), FREE) for k in (1, 5))
    # 10 prompts of 60 tokens and 10 responses of 40, against 2 prompts and the same responses.
    assert five["score"] / one["score"] == pytest.approx(520 / 1000, rel=0.01)
    # An engine has all responses to a prompt: two of five engines work.
    spread = Gpus(engines=5)
    one, five = (seconds(replace(STEP, samples=k), spread, FREE)["generate"] for k in (1, 5))
    assert five / one == pytest.approx(260 / 200, rel=0.1)


def test_ranks_wait_for_gathers_where_these_take_longer():
    # In a machine a gather of all weights takes a second, and over the network four.
    wire = Machine(Ceilings(1e30, 1e30, "bfloat16"), 2.0 * SIZE, 0.5 * SIZE, capacity=1e12)
    summed = 4 * COUNT / (2 * SIZE)
    work = replace(STEP, tune=replace(FULL, micro_batch_tokens=100))
    # A rank of two reads 500 tokens in five passes.
    found = seconds(work, Gpus(trainers=2), wire)
    assert found["train"] == pytest.approx(5 * (2 + summed)) and found["sync"] == pytest.approx(4)
    assert seconds(work, Gpus(trainers=10), wire)["train"] == pytest.approx(4 * (2 + summed))
    assert seconds(work, Gpus(trainers=1), wire)["train"] < 1e-9


def test_memory_and_bytes_of_a_step_of_many_gpus():
    found = gpu_bytes(STEP, Gpus(2, 4, 1), FREE)
    assert found["trainer"] == 8 * COUNT and found["teacher"] == SIZE / 2
    assert found["engine"] == 2 * SIZE + 1000 * cache_bytes(SHAPE, 2)
    assert state_bytes(STEP) == 400 * SHAPE.hidden_size * 2
    assert handed_bytes(STEP) == 2 * SIZE
    lora = replace(STEP, tune=LORA)
    assert handed_bytes(lora) == 4 * 28 * 8 * (1536 + 1536)
    assert gpu_bytes(lora, Gpus(2, 4, 1), FREE)["trainer"] == pytest.approx(
        (4 * SIZE + 4 * handed_bytes(lora)) / 2
    )
    # An engine takes as many GPUs as hold its weights: four of eight.
    tight = replace(FREE, capacity=SIZE)
    expected = (2 * SIZE + 5 * 100 * cache_bytes(SHAPE, 2)) / 4
    assert gpu_bytes(STEP, Gpus(1, 1, 8), tight)["engine"] == pytest.approx(expected)
    given = gpu_bytes(STEP, Gpus(1, 1, 8, engine_width=4), FREE)["engine"]
    assert given == pytest.approx(expected)


def test_check_says_the_least_seconds_of_a_step_on_gpus_alone():
    config = read("+rollout_len=64")
    models = {
        role: outlines.skeleton(getattr(config.pair, role)) for role in ("student", "teacher")
    }
    assert findings(config, models, 20) == []
    [line] = findings(read("+rollout_len=64", "execution.device=cuda"), models, 20)
    assert line.status == "ok" and " s a step at N=64 on GPUs that reach 400 TFLOP/s" in line.text
