"""A LoRA adapter on its way to an engine: its factors, by peft's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file

from esr_cli.types import Adapter

PREFIX, A, B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def layers_of(factors: Mapping[str, torch.Tensor]) -> list[str]:
    """The names of the adapted layers in the base model."""
    return [name[len(PREFIX) : -len(A)] for name in factors if name.endswith(A)]


def merged(
    base: Mapping[str, torch.Tensor], factors: Mapping[str, torch.Tensor], adapter: Adapter
) -> dict[str, torch.Tensor]:
    """The weights `(O, I)` of the adapted layers: base plus scaled product of the factors.

    Computed as by the trainer, so that the numbers are the same.
    """
    found = {}
    for layer in layers_of(factors):
        weight_OI = base[f"{layer}.weight"]
        a_RI, b_OR = (factors[f"{PREFIX}{layer}{side}"].to(weight_OI.device) for side in (A, B))
        delta_OI = (b_OR @ a_RI) * adapter.scale
        found[f"{layer}.weight"] = torch.add(weight_OI, delta_OI, out=torch.empty_like(weight_OI))
    return found


def write(folder: Path, factors: Mapping[str, torch.Tensor], adapter: Adapter) -> None:
    """Writes a folder that vLLM and peft load as an adapter."""
    targets = sorted({layer.rpartition(".")[2] for layer in layers_of(factors)})
    config = LoraConfig(
        r=adapter.rank, lora_alpha=adapter.alpha, target_modules=targets, task_type="CAUSAL_LM"
    )
    config.save_pretrained(str(folder))
    whole = {name: factor.contiguous().cpu() for name, factor in factors.items()}
    save_file(whole, folder / "adapter_model.safetensors")
