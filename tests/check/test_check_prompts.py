"""What `esr check` finds on tune.prompt_gradient."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from conftest import read
from transformers import AutoConfig

from esr_cli.check import tuning
from esr_cli.config import ConfigError


def test_prompts_without_gradient_are_tried_before_a_model_loads():
    """On a small model of the student's kind; a state-space model has no keys to keep."""
    config = read("tune.prompt_gradient=false")
    attention = AutoConfig.for_model("llama", num_hidden_layers=2, hidden_size=64, head_dim=16)
    [found] = tuning.prompt_gradient(config, SimpleNamespace(config=attention))
    assert found.status == "ok" and "another gradient" in found.text
    recurrent = AutoConfig.for_model("mamba", num_hidden_layers=2, hidden_size=64)
    [found] = tuning.prompt_gradient(config, SimpleNamespace(config=recurrent))
    assert found.status == "error" and "tune.prompt_gradient=false" in found.text
    assert tuning.prompt_gradient(read(), SimpleNamespace(config=recurrent)) == []
    with pytest.raises(ConfigError, match=r"execution\.trainers=2: tune\.prompt_gradient=false"):
        read("tune.prompt_gradient=false", "execution.trainers=2")
