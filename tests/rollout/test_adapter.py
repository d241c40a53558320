"""Engines that get the factors of a LoRA adapter sample as the merged student does."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from peft import PeftModel
from test_rollout import MASKED, PROMPTS, SAMPLING, reference_gap
from transformers import AutoModelForCausalLM

from esr_cli.config import TuneConfig
from esr_cli.models import lora
from esr_cli.models.outlines import trained_parameters
from esr_cli.rollout.eager import EagerEngine
from esr_cli.student.tuning import LoraTuning
from esr_cli.types import Adapter

RANK, ALPHA = 4, 12


@pytest.fixture
def tuning(tiny_pair):
    """A student whose adapters are not zero."""
    model = AutoModelForCausalLM.from_pretrained(tiny_pair / "student", dtype=torch.float32)
    torch.manual_seed(4)
    made = LoraTuning(model, RANK, ALPHA, ["all-linear"])
    change(made)
    return made


@torch.no_grad()
def change(tuning):
    for parameter in tuning.trainable().values():
        parameter.add_(torch.randn_like(parameter) * 0.2)
    tuning.publish()


@pytest.fixture(params=["eager", "vllm"])
def engine(request, tiny_pair):
    path, adapter = str(tiny_pair / "student"), Adapter(RANK, ALPHA)
    if request.param == "eager":
        return EagerEngine(path, "float32", 32, masked_ids=MASKED, adapter=adapter)
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    from esr_cli.rollout.vllm import VllmEngine

    return VllmEngine(path, "float32", 512, 32, masked_ids=MASKED, adapter=adapter)


def test_after_every_hand_over_the_engine_samples_from_the_merged_student(engine, tuning):
    before = engine.generate(PROMPTS, SAMPLING)
    for _ in range(3):
        engine.load_weights(tuning.factors())
        found = engine.generate(PROMPTS, SAMPLING)
        assert reference_gap(tuning.model, found, SAMPLING.temperature) < 1e-4
        assert [each.response_ids for each in found] != [each.response_ids for each in before]
        before = found
        change(tuning)


def test_the_factors_are_what_trains_and_merge_to_the_same_bits(tuning, tiny_pair, tmp_path):
    factors, merged = tuning.factors(), tuning.merged()
    kept = [factor.data_ptr() for factor in factors.values()]
    config = TuneConfig(method="lora", rank=RANK, targets=["all-linear"])
    plain = AutoModelForCausalLM.from_pretrained(tiny_pair / "student", dtype=torch.float32)
    assert sum(map(torch.Tensor.numel, factors.values())) == trained_parameters(plain, config)
    found = dict(lora.merged(plain.state_dict(), factors, Adapter(RANK, ALPHA)))
    assert all(torch.equal(found[name], merged[name]) for name in found) and len(found) == 14
    change(tuning)
    assert [factor.data_ptr() for factor in tuning.factors().values()] == kept
    # The folder is one that peft loads.
    lora.write(tmp_path, tuning.factors(), Adapter(RANK, ALPHA))
    loaded = PeftModel.from_pretrained(plain, str(tmp_path)).merge_and_unload().state_dict()
    now = tuning.merged()
    assert max(float((loaded[name] - now[name]).abs().max()) for name in found) < 1e-6
