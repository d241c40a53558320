"""A model without weights: its layers, and the parameters that train."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from esr_cli.config import ConfigError, ModelConfig, TuneConfig
from esr_cli.models import loading


def skeleton(model: ModelConfig) -> Any:
    """The model's layers on the meta device, without memory for weights."""
    shape = loading.load_config(model.path, model.revision, model.trust_remote_code)
    return outline(shape, model.trust_remote_code)


def outline(shape: Any, trust_remote_code: bool = False) -> Any:
    """The layers of a transformers configuration; see `skeleton`.

    Raises `ConfigError` if the configuration is not one of a causal language model.
    """
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(shape, trust_remote_code=trust_remote_code)
    except ValueError as error:
        kind, reason = type(shape).__name__, str(error).splitlines()[0]
        raise ConfigError(
            f"{kind}: not a causal language model that transformers knows ({reason[:120]}); "
            "choose another model"
        ) from None


def adapted_layers(model: Any, targets: list[str]) -> list[tuple[str, torch.nn.Linear]]:
    """The linear layers that LoRA adapts; `all-linear` is all but the output head."""
    head = model.get_output_embeddings()
    linear = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head
    ]
    if "all-linear" in targets:
        return linear
    return [
        (name, layer)
        for name, layer in linear
        if any(name == target or name.endswith(f".{target}") for target in targets)
    ]


def trained_parameters(model: Any, tune: TuneConfig) -> int:
    """The number of parameters that train."""
    if tune.method == "full":
        return sum(parameter.numel() for parameter in model.parameters())
    return sum(
        tune.rank * (layer.in_features + layer.out_features)
        for _, layer in adapted_layers(model, tune.targets)
    )


def checkpoint_bytes(model: Any, tune: TuneConfig, dtype: str) -> int:
    """Bytes of a checkpoint of a model in `dtype`: its trained weights and AdamW's two moments."""
    size = 2 if tune.master == "none" and dtype == "bfloat16" else 4
    return 3 * trained_parameters(model, tune) * size
