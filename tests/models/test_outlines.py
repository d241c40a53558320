"""Models without weights: their shapes, their precision, and errors about them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import AutoConfig

from esr_cli.config import ConfigError, PairConfig
from esr_cli.models import loading, outlines
from esr_cli.models.random_weights import shape_of


def test_the_default_dtype_follows_the_device_and_on_a_cpu_its_instructions():
    chosen = {
        (wanted, device, found): loading.choose_dtype(wanted, device, found)[0]
        for wanted in ("auto", "float32", "bfloat16")
        for device in ("cuda", "cuda:1", "cpu")
        for found in (("AMX", "AVX512_BF16"), ("AVX512_BF16",), ())
    }
    in_fp32 = {key for key, dtype in chosen.items() if dtype == "float32"}
    asked = {key for key in chosen if key[0] == "float32"}
    assert in_fp32 == asked | {("auto", "cpu", ()), ("auto", "cpu", ("AVX512_BF16",))}
    why = loading.choose_dtype("auto", "cpu", ("AMX", "AVX512_BF16"))[1]
    assert why == "pair.dtype=auto, on a CPU with AMX"


def test_a_model_other_than_a_causal_lm_is_refused():
    with pytest.raises(ConfigError, match="not a causal language model"):
        outlines.outline(AutoConfig.for_model("t5"))


def test_an_invalid_shape_is_refused():
    model = PairConfig().student
    for shape, says in (
        ({"model_type": "qwen3", "hidden_sise": 64}, "did you mean hidden_size"),
        ({"model_type": "qwen3", "hidden_size": "abc"}, "cannot be built from it"),
        ({"model_type": "qwen99"}, "unknown to transformers"),
        ({}, "needs a shape"),
    ):
        with pytest.raises(ConfigError, match=says):
            shape_of("pair.student", replace(model, shape=shape))
