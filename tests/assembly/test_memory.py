"""Memory by part, as `esr check` counts it, and what an engine takes of a card."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from conftest import read
from transformers import AutoConfig

from esr_cli.assembly import memory
from esr_cli.config import LabConfig
from esr_cli.lab.networks import lab_model
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.models import outlines, shapes


def shape_at_real_size(kind="qwen2", **more):
    return AutoConfig.for_model(
        kind, vocab_size=151936, hidden_size=1536, num_hidden_layers=28, num_attention_heads=12,
        num_key_value_heads=2, tie_word_embeddings=True, **{"intermediate_size": 8960, **more},
    )  # fmt: skip


def test_an_engines_cache_is_what_it_can_use_of_what_it_may_take():
    shape, gib = shape_at_real_size(), 2**30
    count = sum(each.numel() for each in outlines.outline(shape).parameters())
    assert shapes.weight_bytes(shape, 2) == pytest.approx(2 * count, rel=1e-3)
    # Two times 128 keys and values of 28 layers, in blocks of 16 tokens, and one block more.
    wanted = 28 * 2 * 256 * 2 * 16 * (100 * 16 + 1)
    assert shapes.whole_cache(shape, 2, 1600, 16) == wanted
    limits = shape, 2, 1600, 16
    assert shapes.engine_cache(*limits, 40 * gib) == wanted
    assert shapes.engine_share(shape, 2, wanted) < 2 * count + wanted + 2 * gib
    # A small share leaves less, or not one sequence; experts cannot be reckoned.
    tight = shapes.engine_share(shape, 2, wanted // 2)
    assert shapes.engine_cache(*limits, tight) == wanted // 2
    assert shapes.engine_cache(*limits, 2 * gib) == 0
    for unlike in (
        shape_at_real_size("qwen3_moe"),
        shape_at_real_size("gemma3n_text", intermediate_size=[64] * 28),
        AutoConfig.for_model("bamba"),
        AutoConfig.for_model("qwen3_5_text"),
    ):
        assert shapes.engine_cache(unlike, 2, 1600, 16, 40 * gib) == 0
    # Of layers of unlike kinds some places stay empty.
    mixed = AutoConfig.for_model("gemma3_text", num_hidden_layers=26)
    alone = shapes.cache_bytes(mixed, 2) * 16 * (100 * 16 + 1)
    assert alone * 1.19 < shapes.whole_cache(mixed, 2, 1600, 16) < alone * 1.21


def test_what_vllm_takes_of_a_card_is_counted(monkeypatch):
    """As it would be on a card of 80 GiB: cache and workspaces, whatever the responses need."""
    card = SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    model = outlines.outline(shape_at_real_size())
    given = [
        "pair=qwen25math_1p5b__qwen3_1p7b", "pair.context_tokens=1600",
        "pair.max_response_tokens=1000",
    ]  # fmt: skip
    for more, taken in ((16, 2 * 256 * 28 * 2 * 16 * 1601 + 2 * 2**30), (10**4, 32 * 2**30)):
        config = read(*given, f"rollout.max_sequences={more}")
        found = {n.part: n for n in memory.needs(config, model, model, 90, 100)}
        whole = taken - (0 if more == 16 else shapes.weight_bytes(shape_at_real_size(), 2))
        assert found["engine's cache"].at_n == pytest.approx(whole / 2**30, rel=1e-3)


def test_memory_counts_the_parts_by_hand():
    config = read("+rollout_len=16")
    words = lab_tokenizer()
    model = lab_model(LabConfig(), len(words), 0)
    count = sum(p.numel() for p in model.parameters())
    found = {n.part: n for n in memory.needs(config, model, model, prompt_tokens=58, longest=16)}
    assert found["student's weights"].at_n == pytest.approx(count * 4 / 2**30)
    # fp32: the gradient and two moments, no master beside the weights.
    assert found["optimizer and gradients"].at_n == pytest.approx(count * 12 / 2**30)
    cache = 2 * 3 * 3 * 32 * 4
    assert found["engine's cache"].at_n == pytest.approx(cache * 16 * (58 + 16) / 2**30)
    assert found["engine's cache"].full == pytest.approx(cache * 16 * (58 + 128) / 2**30)
    lora = read("tune=lab_lora", "+rollout_len=16")
    adapters = outlines.trained_parameters(model, lora.tune)
    assert adapters == 16 * 3 * (4 * (96 + 96) + 3 * (96 + 256))
    half = read("pair.dtype=bfloat16", "+rollout_len=16")
    found = {n.part: n for n in memory.needs(half, model, model, 58, 16)}
    # A bf16 gradient and, in fp32, its copy, the master and two moments.
    assert found["optimizer and gradients"].at_n == pytest.approx(count * 18 / 2**30)


def test_memory_that_only_full_rollouts_exceed_is_a_warning():
    config = read("+rollout_len=16")
    have = memory._ram_gib()
    parts = [memory.Need("weights", 1, 1, sure=True)]
    fits = [*parts, memory.Need("activations", 1, have, sure=False)]
    assert memory.against_machine(config, fits)[0].status == "warning"
    risky = [*parts, memory.Need("activations", have, have, sure=False)]
    assert memory.against_machine(config, risky)[0].status == "warning"
    none = [memory.Need("weights", have + 1, have + 1, sure=True)]
    assert memory.against_machine(config, none)[0].status == "error"


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("gpt_neox", {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}),
        ("gpt2", {"n_embd": 64, "n_head": 4, "n_layer": 2}),
        ("gemma2", {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}),
    ],
)
def test_memory_is_estimated_for_architectures_that_name_things_otherwise(kind, shape):
    model = outlines.outline(AutoConfig.for_model(kind, **shape))
    found = memory.needs(read(), model, model, 10, 10)
    assert all(need.at_n >= 0 for need in found) and found[0].at_n > 0
