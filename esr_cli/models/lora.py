"""A LoRA adapter on its way to an engine: its factors, by peft's names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
) -> Iterator[tuple[str, torch.Tensor]]:
    """The weight `(O, I)` of each adapted layer: base plus scaled product of the factors.

    Computed as by the trainer, so that the numbers are the same.
    """
    for layer in layers_of(factors):
        weight_OI = base[f"{layer}.weight"]
        a_RI, b_OR = (factors[f"{PREFIX}{layer}{side}"].to(weight_OI.device) for side in (A, B))
        delta_OI = (b_OR @ a_RI) * adapter.scale
        yield f"{layer}.weight", torch.add(weight_OI, delta_OI, out=torch.empty_like(weight_OI))


def write(folder: Path, factors: Mapping[str, torch.Tensor], adapter: Adapter) -> None:
    """Writes a folder that vLLM and peft load as an adapter."""
    targets = sorted({layer.rpartition(".")[2] for layer in layers_of(factors)})
    config = LoraConfig(
        r=adapter.rank, lora_alpha=adapter.alpha, target_modules=targets, task_type="CAUSAL_LM"
    )
    config.save_pretrained(str(folder))
    whole = {name: factor.contiguous().cpu() for name, factor in factors.items()}
    save_file(whole, folder / "adapter_model.safetensors")
