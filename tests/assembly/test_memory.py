"""The memory estimate of `esr check`, part by part."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import read, shape_of_1p5b
from transformers import AutoConfig

from esr_cli.assembly import memory
from esr_cli.base import available
from esr_cli.config import LabConfig
from esr_cli.lab.networks import lab_model
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.models import outlines, shapes


def test_the_memory_that_vllm_reserves_is_estimated(monkeypatch):
    """On a GPU of 80 GiB: cache and workspaces, independent of the responses' length."""
    device = SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: device)
    model = outlines.outline(shape_of_1p5b())
    given = [
        "pair=qwen25math_1p5b__qwen3_1p7b", "pair.context_tokens=1600",
        "pair.max_response_tokens=1000",
    ]  # fmt: skip
    for sequences, reserved in (
        (16, 2 * 256 * 28 * 2 * 16 * 1601 + 2 * 2**30),
        (10**4, 32 * 2**30),
    ):
        config = read(*given, f"rollout.max_sequences={sequences}")
        needs = {n.part: n for n in memory.needs(config, model, [model], 90, 100)}
        expected = reserved - (0 if sequences == 16 else shapes.weight_bytes(shape_of_1p5b(), 2))
        assert needs["engine's cache"].at_n == pytest.approx(expected / 2**30, rel=1e-3)


def test_the_estimate_equals_a_count_by_hand():
    config = read("+rollout_len=16")
    words = lab_tokenizer()
    model = lab_model(LabConfig(), len(words), 0)
    count = sum(p.numel() for p in model.parameters())
    needs = {n.part: n for n in memory.needs(config, model, [model], prompt_tokens=58, longest=16)}
    assert needs["student's weights"].at_n == pytest.approx(count * 4 / 2**30)
    # fp32: the gradient and two moments, no master copy of the weights.
    assert needs["optimizer and gradients"].at_n == pytest.approx(count * 12 / 2**30)
    cache = 2 * 3 * 3 * 32 * 4
    assert needs["engine's cache"].at_n == pytest.approx(cache * 16 * (58 + 16) / 2**30)
    assert needs["engine's cache"].full == pytest.approx(cache * 16 * (58 + 128) / 2**30)
    # The prompts of all 40 steps of 16, unless the bound is lower.
    every = cache * 16 * 40 * 58 / 2**30
    for given, gib in (
        ([], 0.0), (["teacher.prompt_cache_gib=1"], every),
        (["teacher.prompt_cache_gib=0.01"], 0.01), (["teacher=vllm"], 0.0),
    ):  # fmt: skip
        config = read("+rollout_len=16", *given)
        found = {n.part: n for n in memory.needs(config, model, [model], 58, 16)}
        assert found["teacher's kept prompts"].full == pytest.approx(gib)
    # Two rows of a prompt and 8 responses without their last tokens fit a micro-batch; rows of one
    # response need no mask, and a prompt without gradient is read apart.
    eight, row = "rollouts_per_prompt=8", 58 + 8 * 15
    for given, rows in (
        ([eight], 2), ([], 0), ([eight, "tune.prompt_gradient=false"], 0),
        ([eight, "tune.micro_batch_tokens=70"], 0),
    ):  # fmt: skip
        config = read("+rollout_len=16", "tune.micro_batch_tokens=400", *given)
        found = {n.part: n for n in memory.needs(config, model, [model], 58, 16)}
        expected = rows * row**2 * (4 + 2) / 2**30
        assert found["masks of shared prompts"].at_n == pytest.approx(expected)
    lora = read("tune=lab_lora", "+rollout_len=16")
    adapters = outlines.trained_parameters(model, lora.tune)
    assert adapters == 16 * 3 * (4 * (96 + 96) + 3 * (96 + 256))
    half = read("pair.dtype=bfloat16", "+rollout_len=16")
    needs = {n.part: n for n in memory.needs(half, model, [model], 58, 16)}
    # A bf16 gradient; in fp32 its copy, the master weights and two moments.
    assert needs["optimizer and gradients"].at_n == pytest.approx(count * 18 / 2**30)
    assert memory.checkpoint_gib(half, model) == 3 * count * 4 / 2**30
    for dtype, size in (("bfloat16", 2), ("float32", 4)):
        config = read(f"pair.dtype={dtype}", "tune.master=none", "+rollout_len=16")
        needs = {n.part: n for n in memory.needs(config, model, [model], 58, 16)}
        # Gradient and two moments in the model's own type.
        assert needs["optimizer and gradients"].at_n == pytest.approx(count * 3 * size / 2**30)
        assert memory.checkpoint_gib(config, model) == 3 * count * size / 2**30


def test_memory_that_only_full_rollouts_exceed_is_a_warning():
    config = read("+rollout_len=16")
    have, free = available.total_gib(), available.free_gib()
    parts = [memory.Need("weights", 0.01, 0.01, sure=True)]
    fits = [*parts, memory.Need("activations", 0.01, have, sure=False)]
    [finding] = memory.against_machine(config, fits)
    assert finding.status == "warning" and "full rollouts may not fit" in finding.text
    risky = [*parts, memory.Need("activations", have, have, sure=False)]
    assert memory.against_machine(config, risky)[0].status == "warning"
    # What others hold is no error: they may release it.
    held = [*parts, memory.Need("activations", (have + free) / 2, have, sure=False)]
    [finding] = memory.against_machine(config, held)
    assert finding.status == "warning" and "others hold" in finding.text
    exact = [memory.Need("weights", have + 1, have + 1, sure=True)]
    assert memory.against_machine(config, exact)[0].status == "error"


def test_the_cache_that_vllm_asks_for_on_a_cpu_is_compared_with_what_the_models_leave():
    config = read("rollout=vllm", "+rollout_len=16")
    model = lab_model(LabConfig(), len(lab_tokenizer()), 0)
    assert memory.of_vllm(config, model, []) == []
    some = replace(config, rollout=replace(config.rollout, max_sequences=10**6))
    [finding] = memory.of_vllm(some, model, [])
    assert finding.status == "error" and "vLLM asks for a cache of" in finding.text
    gib = available.free_gib()
    [finding] = memory.of_vllm(config, model, [memory.Need("weights", gib, gib, sure=True)])
    assert finding.status == "warning"
    eager = replace(some, rollout=replace(some.rollout, engine="eager"))
    assert memory.of_vllm(eager, model, []) == []


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("gpt_neox", {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}),
        ("gpt2", {"n_embd": 64, "n_head": 4, "n_layer": 2}),
        ("gemma2", {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}),
    ],
)
def test_memory_is_estimated_for_architectures_with_other_names(kind, shape):
    model = outlines.outline(AutoConfig.for_model(kind, **shape))
    needs = memory.needs(read(), model, [model], 10, 10)
    assert all(need.at_n >= 0 for need in needs) and needs[0].at_n > 0
