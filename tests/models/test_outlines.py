"""Models without weights: their shapes, their precision, and errors about them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import AutoConfig

from esr_cli.config import ConfigError, PairConfig
from esr_cli.models import loading, outlines
from esr_cli.models.random_weights import shape_of


def test_the_default_dtype_does_not_depend_on_the_device_index():
    kept = [loading.pick_dtype("auto", device) for device in ("cuda", "cuda:1", "cpu")]
    assert kept == ["bfloat16", "bfloat16", "float32"]


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
