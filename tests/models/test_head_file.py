"""The output head from a model's files: the same numbers, and refusals of what is no projection."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from esr_cli.config import ModelConfig
from esr_cli.models import head_file, loading, outlines

COLUMNS = (5, 3, 9)
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 50,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    """Saves a small random model; returns its folder and the model."""

    def save(kind, shard="1GB", **more):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **TINY, **more))
        model.save_pretrained(tmp_path / kind, max_shard_size=shard)
        return tmp_path / kind, model

    return save


def skeleton(folder):
    return outlines.skeleton(ModelConfig(str(folder)))


@pytest.mark.parametrize(("kind", "more"), [
    ("qwen3", {"tie_word_embeddings": True}), ("qwen3", {"tie_word_embeddings": False}),
    ("llama", {"shard": "4KB"}), ("gemma2", {"final_logit_softcapping": 3.0}),
    ("granite", {"logits_scaling": 4.0}), ("phi", {}),
])  # fmt: skip
def test_the_head_of_the_files_is_that_of_the_model(saved, kind, more):
    folder, model = saved(kind, **more)
    expected = loading.head_of(model).picked(COLUMNS)
    found = head_file.load(str(folder), skeleton(folder), COLUMNS, "float32")
    assert torch.equal(found.weight_VD, expected.weight_VD)
    assert (found.scale, found.softcap) == (expected.scale, expected.softcap)
    assert (found.bias_V is None) == (expected.bias_V is None)
    if found.bias_V is not None:
        assert torch.equal(found.bias_V, expected.bias_V)
    assert head_file.is_plain(model.config)


def test_names_in_other_wrappers_are_found_unless_there_are_two(saved):
    folder, _ = saved("qwen3", tie_word_embeddings=False)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["language_model.lm_head.weight"] = tensors.pop("lm_head.weight")
    save_file(tensors, file)
    weight, bias = head_file.find(str(folder), skeleton(folder))
    assert (weight.name, weight.shape, bias) == ("language_model.lm_head.weight", (50, 16), None)
    tensors["text_model.lm_head.weight"] = torch.zeros(50, 16)
    save_file(tensors, file)
    with pytest.raises(head_file.HeadError, match="may all be its head"):
        head_file.find(str(folder), skeleton(folder))


def test_what_is_no_plain_projection_is_refused(saved):
    folder, _ = saved("qwen3", tie_word_embeddings=False)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = torch.zeros(50, 4, dtype=torch.int32)
    save_file(tensors, file)
    with pytest.raises(head_file.HeadError, match=r"stored as \(50, 4\) of I32, not as plain"):
        head_file.find(str(folder), skeleton(folder))
    del tensors["lm_head.weight"]
    save_file(tensors, file)
    with pytest.raises(head_file.HeadError, match=r"holds none of the tensors lm_head\.weight"):
        head_file.find(str(folder), skeleton(folder))
    file.unlink()
    with pytest.raises(head_file.HeadError, match=r"holds no model\.safetensors"):
        head_file.find(str(folder), skeleton(folder))


@pytest.mark.parametrize(("kind", "more"), [
    ("falcon_h1", {"lm_head_multiplier": 0.5}), ("hyperclovax", {"logits_scaling": 8.0}),
])  # fmt: skip
def test_a_head_with_a_scale_of_its_own_is_noticed(kind, more):
    try:
        config = AutoConfig.for_model(kind, **more)
    except ValueError:
        pytest.skip("this transformers has no such model")
    assert head_file.is_plain(config) is False
    assert head_file.is_plain(AutoConfig.for_model("gpt2")) is True
