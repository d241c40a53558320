"""A model's trainable parameters, and its merged weights by Hugging Face names for the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

from esr_cli.config import TuneConfig
from esr_cli.models import lora
from esr_cli.student.adapted import SeededDropout, read_through
from esr_cli.student.ranks import Alone

# peft's default adapter name.
ADAPTER = "default"
ALONE = Alone()


class FullTuning:
    """Trains all weights. bf16 weights have fp32 masters, in which small updates accumulate.

    Without `masters`, weights, gradients and optimizer state are of the model's own type, and an
    update below half the distance to the next number of that type is lost. If ranks shard the
    model, the shards are the masters, and layers are gathered in bf16.
    """

    def __init__(self, model: Any, masters: bool = True, ranks: Alone = ALONE) -> None:
        self.model = model
        model.requires_grad_(True)
        # The type in which weights are computed with and handed over, if it is not the shards'.
        self._dtype: torch.dtype | None = None
        if ranks.sharded:
            if masters and model.dtype != torch.float32:
                self._dtype = model.dtype
                for parameter in model.parameters():
                    parameter.data = parameter.data.float()
            ranks.shard(model, self._dtype)
        self._parameters = dict(model.named_parameters())
        self._masters = {
            name: torch.nn.Parameter(p.detach().float())
            if masters and p.dtype != torch.float32
            else p
            for name, p in self._parameters.items()
        }

    def mask(self, key: str) -> None:
        """Does nothing: full tuning has no dropout."""

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The optimizer's parameters by name."""
        return self._masters

    def collect(self) -> None:
        """Adds the gradients of bf16 weights to those of their masters, in fp32."""
        for name, parameter in self._parameters.items():
            master = self._masters[name]
            if master is not parameter and parameter.grad is not None:
                added = parameter.grad.float()
                master.grad = added if master.grad is None else master.grad.add_(added)
                parameter.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Copies the masters into the model's bf16 weights."""
        for name, parameter in self._parameters.items():
            if self._masters[name] is not parameter:
                parameter.copy_(self._masters[name])

    def factors(self) -> dict[str, torch.Tensor]:
        """All weights: full tuning has no adapter."""
        return self.merged()

    def merged(self) -> dict[str, torch.Tensor]:
        """All weights by their Hugging Face names, without copies, or as shards."""
        return {name: _as(p.detach(), self._dtype) for name, p in self._parameters.items()}

    def complete(self) -> dict[str, torch.Tensor]:
        """All that a model folder holds, by Hugging Face names."""
        return self.merged() | _buffers(self.model)

    def save(self, folder: Path) -> None:
        """Writes a folder that `AutoModelForCausalLM.from_pretrained` loads."""
        self.model.save_pretrained(folder)

    def save_adapter(self, folder: Path) -> bool:
        """Returns False: full tuning has no adapter."""
        return False


class LoraTuning:
    """Trains peft's LoRA adapters on the named linear layers; the base model is frozen.

    The adapters are fp32 for any dtype of the model. `dropout` is the share of each adapter's
    inputs that are zero in training.
    """

    def __init__(
        self, model: Any, rank: int, alpha: int, targets: list[str], dropout: float = 0.0,
        ranks: Alone = ALONE,
    ) -> None:  # fmt: skip
        self.model = model
        self.adapted = get_peft_model(model, lora_config(rank, alpha, targets, dropout))
        ranks.shard(model)
        self._layers: list[tuple[str, Any]] = [
            (n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer)
        ]
        self._merged = {
            f"{name}.weight": torch.empty_like(layer.get_base_layer().weight)
            for name, layer in self._layers
        }
        blocks = {name.rpartition(".")[0] for name, _ in self._layers}
        self._frozen = {
            _base_name(name): p.detach()
            for name, p in model.named_parameters()
            if not p.requires_grad and _block(name) in blocks
        }
        self._dropouts: dict[str, SeededDropout] = {}
        for name, layer in self._layers:
            if dropout:
                self._dropouts[name] = SeededDropout(dropout)
                layer.lora_dropout[ADAPTER] = self._dropouts[name]
            # Merged shards are not gathered for a layer: it reads weight and adapter.
            merged_OI = None if ranks.sharded else self._merged[f"{name}.weight"]
            read_through(layer, merged_OI, ADAPTER)
        self.publish()

    def mask(self, key: str) -> None:
        """Fixes the dropout masks until the next call: by `key` and each layer's name alone."""
        for name, dropout in self._dropouts.items():
            dropout.draw(f"{key}/{name}")

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The adapters' parameters by name."""
        return {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    def collect(self) -> None:
        """Does nothing: the optimizer updates the model's own parameters."""

    @torch.no_grad()
    def publish(self) -> None:
        """Computes base weight plus adapter per adapted layer, out of place to avoid drift."""
        for name, layer in self._layers:
            base, delta = layer.get_base_layer().weight, layer.get_delta_weight(ADAPTER)
            torch.add(base, delta, out=self._merged[f"{name}.weight"])

    def factors(self) -> dict[str, torch.Tensor]:
        """Both factors of each adapted layer by peft's names, always in the same memory."""
        return {
            f"{lora.PREFIX}{name}{suffix}": getattr(layer, side)[ADAPTER].weight.detach()
            for name, layer in self._layers
            for side, suffix in (("lora_A", lora.A), ("lora_B", lora.B))
        }

    def merged(self) -> dict[str, torch.Tensor]:
        """The merged weights as last published, always in the same memory.

        Also the frozen weights of the same blocks: vLLM fuses query, key and value projections and
        reloads all of a fused layer, biases included.
        """
        return self._frozen | self._merged

    def complete(self) -> dict[str, torch.Tensor]:
        """All that a model folder holds, by Hugging Face names."""
        weights = {
            _base_name(name): p.detach()
            for name, p in self.model.named_parameters()
            if ".lora_" not in name
        }
        return weights | _buffers(self.model) | self.merged()

    def save(self, folder: Path) -> None:
        """Writes the merged model; `save_adapter` writes the adapter alone."""
        weights = {
            _base_name(name): tensor
            for name, tensor in self.model.state_dict().items()
            if ".lora_" not in name
        }
        self.model.save_pretrained(folder, state_dict=weights | self.merged())

    def save_adapter(self, folder: Path) -> bool:
        """Writes the adapter in peft's format; returns True."""
        self.adapted.save_pretrained(str(folder))
        return True


def _as(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    return tensor if dtype is None else tensor.to(dtype)


def _buffers(model: Any) -> dict[str, torch.Tensor]:
    """The buffers that are saved with a model."""
    names = model.state_dict().keys() - dict(model.named_parameters()).keys()
    return {name: each for name, each in model.named_buffers() if name in names}


def _base_name(name: str) -> str:
    """The base model's name of a tensor that peft has moved into an adapted layer."""
    return name.replace(".base_layer", "")


def _block(name: str) -> str:
    """`layers.0.self_attn` of `layers.0.self_attn.q_proj.base_layer.weight`."""
    return _base_name(name).rpartition(".")[0].rpartition(".")[0]


def lora_config(rank: int, alpha: int, targets: list[str], dropout: float = 0.0) -> LoraConfig:
    """Adapters on the named layers, or on all linear layers except the output head."""
    names: str | list[str] = "all-linear" if "all-linear" in targets else targets
    return LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=names, lora_dropout=dropout, task_type="CAUSAL_LM"
    )


Tuning = FullTuning | LoraTuning


def make(model: Any, config: TuneConfig, ranks: Alone = ALONE) -> Tuning:
    """The configured tuning of `model`, which several ranks share."""
    if config.method == "full":
        return FullTuning(model, config.master == "float32", ranks)
    return LoraTuning(model, config.rank, config.alpha, config.targets, config.dropout, ranks)
