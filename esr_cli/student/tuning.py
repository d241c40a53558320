"""What of a model trains, and its weights as the engine wants them: merged, by their HF names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

from esr_cli.config import TuneConfig
from esr_cli.student.adapted import read_through

# What peft calls an adapter that is given no name.
ADAPTER = "default"


class FullTuning:
    """Every weight trains; of bf16 weights an fp32 master copy, in which small steps add up."""

    def __init__(self, model: Any) -> None:
        self.model = model
        model.requires_grad_(True)
        self._own = dict(model.named_parameters())
        self._masters = {
            name: own if own.dtype == torch.float32 else torch.nn.Parameter(own.detach().float())
            for name, own in self._own.items()
        }

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """What the optimizer moves, by name."""
        return self._masters

    def collect(self) -> None:
        """Adds the model's gradients to those of what the optimizer moves, in fp32."""
        for name, own in self._own.items():
            master = self._masters[name]
            if master is not own and own.grad is not None:
                added = own.grad.float()
                master.grad = added if master.grad is None else master.grad.add_(added)
                own.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Puts what the optimizer moved into the model."""
        for name, own in self._own.items():
            if self._masters[name] is not own:
                own.copy_(self._masters[name])

    def merged(self) -> dict[str, torch.Tensor]:
        """The weights that differ from the start, by their Hugging Face names (no copies)."""
        return {name: own.detach() for name, own in self._own.items()}

    def save(self, folder: Path) -> None:
        """Writes a folder that `AutoModelForCausalLM.from_pretrained` loads."""
        self.model.save_pretrained(folder)

    def save_adapter(self, folder: Path) -> bool:
        """There is none."""
        return False


class LoraTuning:
    """Low-rank adapters by peft, on the linear layers named; the model itself stays frozen.

    The adapters are fp32 whatever the model is kept in.
    """

    def __init__(self, model: Any, rank: int, alpha: int, targets: list[str]) -> None:
        self.model = model
        self.adapted = get_peft_model(model, lora_config(rank, alpha, targets))
        self._layers: list[tuple[str, Any]] = [
            (n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer)
        ]
        self._merged = {
            f"{name}.weight": torch.empty_like(layer.get_base_layer().weight)
            for name, layer in self._layers
        }
        blocks = {name.rpartition(".")[0] for name, _ in self._layers}
        self._beside = {
            _own(name): own.detach()
            for name, own in model.named_parameters()
            if not own.requires_grad and _block(name) in blocks
        }
        for name, layer in self._layers:
            read_through(layer, self._merged[f"{name}.weight"], ADAPTER)
        self.publish()

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The adapters' parameters by name."""
        return {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    def collect(self) -> None:
        """Nothing to do: the optimizer moves the model's own parameters."""

    @torch.no_grad()
    def publish(self) -> None:
        """Base weight plus adapter for each adapted layer, out of place: nothing drifts."""
        for name, layer in self._layers:
            base, delta = layer.get_base_layer().weight, layer.get_delta_weight(ADAPTER)
            torch.add(base, delta, out=self._merged[f"{name}.weight"])

    def merged(self) -> dict[str, torch.Tensor]:
        """The sums as last published, always the same memory.

        Beside them what stays in the same blocks, as it is: vLLM lays queries, keys and values
        together and reloads them, biases included, whole.
        """
        return self._beside | self._merged

    def save(self, folder: Path) -> None:
        """Writes the merged model; the adapter is kept apart by `save_adapter`."""
        weights = {
            _own(name): tensor
            for name, tensor in self.model.state_dict().items()
            if ".lora_" not in name
        }
        self.model.save_pretrained(folder, state_dict=weights | self.merged())

    def save_adapter(self, folder: Path) -> bool:
        """Writes the adapter in peft's own format."""
        self.adapted.save_pretrained(str(folder))
        return True


def _own(name: str) -> str:
    """What the model itself calls a tensor that peft has put into an adapted layer."""
    return name.replace(".base_layer", "")


def _block(name: str) -> str:
    """`layers.0.self_attn` of `layers.0.self_attn.q_proj.base_layer.weight`."""
    return _own(name).rpartition(".")[0].rpartition(".")[0]


def lora_config(rank: int, alpha: int, targets: list[str]) -> LoraConfig:
    """Adapters on the layers named, or on every linear one but the output head."""
    names: str | list[str] = "all-linear" if "all-linear" in targets else targets
    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=names, task_type="CAUSAL_LM")


Tuning = FullTuning | LoraTuning


def make(model: Any, config: TuneConfig) -> Tuning:
    """What trains of `model`, as configured."""
    if config.method == "full":
        return FullTuning(model)
    return LoraTuning(model, config.rank, config.alpha, config.targets)
