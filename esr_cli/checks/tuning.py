"""What would train, on a model without weights."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from esr_cli.checks.finding import Finding
from esr_cli.config import ConfigError, ModelConfig, TuneConfig
from esr_cli.models import loading


def skeleton(model: ModelConfig) -> Any:
    """The model's layers and their sizes, without any memory for weights."""
    shape = loading.load_config(model.path, model.revision, model.trust_remote_code)
    return outline(shape, model.trust_remote_code)


def outline(shape: Any, trust_remote_code: bool = False) -> Any:
    """The layers of a transformers configuration, see `skeleton`."""
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(shape, trust_remote_code=trust_remote_code)
    except ValueError as error:
        kind, reason = type(shape).__name__, str(error).splitlines()[0]
        raise ConfigError(
            f"{kind}: not a causal language model that transformers knows ({reason[:120]}); "
            "choose another model"
        ) from None


def adapted(model: Any, targets: list[str]) -> list[tuple[str, torch.nn.Linear]]:
    """The linear layers that LoRA would adapt, all but the output head by `all-linear`."""
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


def trained(model: Any, tune: TuneConfig) -> int:
    """How many parameters train."""
    if tune.method == "full":
        return sum(parameter.numel() for parameter in model.parameters())
    return sum(
        tune.rank * (layer.in_features + layer.out_features)
        for _, layer in adapted(model, tune.targets)
    )


def targets(model: Any, tune: TuneConfig) -> list[Finding]:
    """What trains; an error where a LoRA target matches no layer."""
    total, count = sum(p.numel() for p in model.parameters()), trained(model, tune)
    share = f"{count / 1e6:,.1f} of {total / 1e6:,.1f} million parameters train"
    if tune.method == "full":
        return [Finding("ok", "tuning", f"full fine-tuning: {share}")]
    for target in tune.targets:
        if not adapted(model, [target]):
            names = sorted({name.rpartition(".")[2] for name, _ in adapted(model, ["all-linear"])})
            given = f"tune.targets=[{','.join(tune.targets)}]"
            said = f"{given}: no layer of the student is called {target}"
            return [Finding("error", "tuning", said, f"there are {', '.join(names)}")]
    layers = len(adapted(model, tune.targets))
    return [Finding("ok", "tuning", f"LoRA r={tune.rank} on {layers} layers: {share}")]


def compiling(models: dict[str, Any], tune: TuneConfig) -> list[Finding]:
    """An error where `tune.compile` lacks what it needs: a compiler, layers that it knows."""
    if not tune.compile:
        return []
    said, compiler = "tune.compile=true", os.environ.get("CXX", "g++")
    if torch.cuda.is_available():
        compiler = os.environ.get("CC", "gcc")
        if importlib.util.find_spec("triton") is None:
            return [Finding("error", "tuning", f"{said}: Triton is not installed", "install it")]
    if shutil.which(compiler) is None:
        return [Finding("error", "tuning", f"{said}: there is no {compiler}", "install it")]
    return [
        Finding("error", "tuning", f"{said}: the {role}'s layers are its own code", "leave it out")
        for role, model in models.items()
        if not loading.layers(model)
    ]
