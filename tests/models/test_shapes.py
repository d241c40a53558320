"""Estimates from a model's configuration: weights, and the engine's KV cache."""

from __future__ import annotations

import pytest
from conftest import read, shape_of_1p5b
from transformers import AutoConfig

from esr_cli.models import outlines, shapes
from esr_cli.models.random_weights import shape_of


def test_the_engine_cache_is_limited_by_use_and_by_memory():
    shape, gib = shape_of_1p5b(), 2**30
    count = sum(each.numel() for each in outlines.outline(shape).parameters())
    assert shapes.weight_bytes(shape, 2) == pytest.approx(2 * count, rel=1e-3)
    # Two heads of 128 keys and values in 28 layers, in blocks of 16 tokens, and one extra block.
    needed = 28 * 2 * 256 * 2 * 16 * (100 * 16 + 1)
    assert shapes.whole_cache(shape, 2, 1600, 16) == needed
    limits = shape, 2, 1600, 16
    assert shapes.engine_cache(*limits, 40 * gib) == needed
    assert shapes.engine_share(shape, 2, needed) < 2 * count + needed + 2 * gib
    # Four GPUs share the weights, and two of them each head of keys and values.
    assert shapes.whole_cache(*limits, 4) == needed / 2
    fourth = shapes.engine_share(shape, 2, 0, 4) - shapes.ENGINE_ROOM
    assert fourth == pytest.approx(shapes.weight_bytes(shape, 2) / 4)
    # A small share leaves a smaller cache or none; MoE and hybrid models are not estimated.
    tight = shapes.engine_share(shape, 2, needed // 2)
    assert shapes.engine_cache(*limits, tight) == needed // 2
    assert shapes.engine_cache(*limits, 2 * gib) == 0
    for unsupported in (
        shape_of_1p5b("qwen3_moe"),
        shape_of_1p5b("gemma3n_text", intermediate_size=[64] * 28),
        AutoConfig.for_model("bamba"),
        AutoConfig.for_model("qwen3_5_text"),
    ):
        assert shapes.engine_cache(unsupported, 2, 1600, 16, 40 * gib) == 0
    # With layers of several kinds part of the cache stays unused.
    mixed = AutoConfig.for_model("gemma3_text", num_hidden_layers=26)
    alone = shapes.cache_bytes(mixed, 2) * 16 * (100 * 16 + 1)
    assert alone * 1.19 < shapes.whole_cache(mixed, 2, 1600, 16) < alone * 1.21


@pytest.mark.parametrize(("parts", "what"), [
    (2, ""), (4, ""), (8, "12 attention heads"), (3, "2 heads of keys"),
    (12, "vocabulary, of 151936"),
])  # fmt: skip
def test_what_cannot_be_split_is_named(parts, what):
    found = shapes.undivided(shape_of_1p5b(intermediate_size=8964), parts)
    assert what in found and bool(what) == bool(found)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("llama32_1b_it", 1_235_814_400), ("llama31_8b_it", 8_030_261_248),
        ("qwen3_4b", 4_022_468_096), ("qwen3_8b", 8_190_735_360),
    ],
)  # fmt: skip
def test_a_model_has_as_many_parameters_as_its_card_says(name, count):
    config = read("pair=qwen3_4b__qwen3_8b", f"lm@pair.student={name}")
    model = outlines.outline(shape_of("pair.student", config.pair.student))
    assert sum(each.numel() for each in model.parameters()) == count
