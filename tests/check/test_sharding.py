"""Which students can be sharded over ranks, and which are refused before a model loads."""

from __future__ import annotations

import pytest
import torch
from conftest import read
from torch import nn
from transformers import AutoConfig

from esr_cli.check import trainers
from esr_cli.models import loading, outlines

SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "vocab_size": 100, "num_attention_heads": 4}


def outline(kind="qwen2", **more):
    shape = {**SMALL, "intermediate_size": 64, **more}
    if kind == "qwen2":
        shape["num_key_value_heads"] = 2
    return outlines.outline(AutoConfig.for_model(kind, **shape))


def test_layers_within_layers_and_with_shared_weights_are_not_gathered_by_themselves():
    plain = outline()
    assert loading.separate_layers(plain) == loading.layers(plain) and len(plain.model.layers) == 3
    plain.model.layers[1].mlp.up_proj.weight = plain.model.layers[0].mlp.up_proj.weight
    assert loading.separate_layers(plain) == [plain.model.layers[2]]
    nested = outline(
        "zamba2", mamba_d_state=8, mamba_headdim=16, n_mamba_heads=8, mamba_ngroups=1,
        layers_block_type=["mamba", "hybrid", "mamba"], hybrid_layer_ids=[1],
    )  # fmt: skip
    assert len(loading.layers(nested)) == 4
    assert loading.separate_layers(nested) == list(nested.model.layers)


def with_experts(model):
    model.model.layers[0].mlp.experts = nn.ModuleList([nn.Linear(4, 4)])


def with_a_number(model):
    model.model.layers[1].gate = nn.Parameter(torch.zeros((), device="meta"))


def with_a_wide_weight(model):
    model._keep_in_fp32_modules_strict = {"mlp.up_proj"}


@pytest.mark.parametrize(("change", "overrides", "said"), [
    (with_experts, [], "experts one by one (model.layers.0.mlp.experts)"),
    (with_a_number, [], "weight model.layers.1.gate is a single number"),
    (with_a_wide_weight, ["pair.dtype=bfloat16"], "keeps model.layers.0.mlp.up_proj"),
    (with_a_wide_weight, ["pair.dtype=bfloat16", "tune=lora"], ""),
    (with_a_wide_weight, [], ""),
    (lambda model: None, ["pair.dtype=bfloat16"], ""),
])  # fmt: skip
def test_a_student_that_ranks_cannot_hold_is_refused(change, overrides, said):
    model = outline()
    change(model)
    config = read("+rollout_len=8", "execution.trainers=2", *overrides)
    found = trainers.findings(config, model)
    if not said:
        assert found == []
        return
    [finding] = found
    assert finding.status == "error" and said in finding.text
    assert finding.text.startswith("execution.trainers=2: the student")
    assert finding.text.endswith("give execution.trainers=1")
    assert trainers.findings(read("+rollout_len=8", *overrides), model) == []


@pytest.mark.parametrize(
    ("gib", "count", "said"), [(0.0, 2, True), (16.0, 2, False), (0.0, 1, False)]
)
def test_checkpoints_in_parts_are_announced(gib, count, said):
    config = read(
        "+rollout_len=8", f"execution.trainers={count}", f"execution.whole_gib={gib}"
    )  # fmt: skip
    found = trainers.findings(config, outline())
    assert [each.status for each in found] == ["ok"] * said
    for each in found:
        assert "each of the 2 writes its part of a checkpoint of 0.00" in each.text
        assert "execution.whole_gib=0)" in each.text
