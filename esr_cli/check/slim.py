"""Models of a run's widths with few layers and random weights, to time on this machine."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from esr_cli.assembly.memory import dtype_of, weight_count
from esr_cli.config import TrainConfig
from esr_cli.models import loading

ROLES = ("student", "teacher")


def settings(config: TrainConfig, folder: Path, layers: int, rows: int) -> TrainConfig:
    """The settings of a trial: models in `folder` with at most so many layers, in one process.

    The engine decodes `rows` at once.
    """
    dtype, made = getattr(torch, dtype_of(config)), {}
    device = loading.pick_device(config.execution.device)
    for role in ROLES:
        model = getattr(config.pair, role)
        shape = loading.load_config(model.path, model.revision, model.trust_remote_code)
        with torch.device(device):
            network = AutoModelForCausalLM.from_config(
                with_layers(shape, layers), dtype=dtype, trust_remote_code=model.trust_remote_code
            )
        network.save_pretrained(folder / role)
        made[role] = replace(model, path=str(folder / role), revision=None)
    execution = replace(config.execution, engine="inline", teacher="inline", restarts=0)
    # Compilation would take longer than all else.
    rollout = replace(
        config.rollout, engine="eager", max_sequences=rows, staleness=0, tensor_parallel=1,
        weights="merged", seeds="response",
    )  # fmt: skip
    # A repeat is of the same prompts, which a run rarely meets again.
    teacher = replace(config.teacher, prompt_cache_gib=0.0)
    pair, tune = replace(config.pair, **made), replace(config.tune, compile=False)
    return replace(
        config, pair=pair, execution=execution, rollout=rollout, tune=tune, teacher=teacher
    )


def with_layers(config: Any, most: int) -> Any:
    """A copy of a transformers configuration with at most so many layers."""
    made = copy.deepcopy(config)
    shape = made.get_text_config()
    count = shape.num_hidden_layers
    for name, value in list(vars(shape).items()):
        # Some settings, such as `layer_types`, have a value for each layer.
        if isinstance(value, list) and len(value) == count:
            setattr(shape, name, value[:most])
    shape.num_hidden_layers = min(most, count)
    return made


def share(model: Any, most: int) -> float:
    """The share of a model's weights that it has with at most so many layers; about this."""
    shape = model.config.get_text_config()
    rest = shape.vocab_size * shape.hidden_size
    rest *= 1 if getattr(shape, "tie_word_embeddings", False) else 2
    rest = min(1.0, rest / weight_count(model))
    return rest + (1 - rest) * min(1.0, most / shape.num_hidden_layers)
