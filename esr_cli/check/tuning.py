"""What would train, on a model without weights."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Any

import torch

from esr_cli.config import TuneConfig
from esr_cli.config.finding import Finding
from esr_cli.models import loading
from esr_cli.models.outlines import adapted_layers, trained_parameters


def targets(model: Any, tune: TuneConfig) -> list[Finding]:
    """What trains; an error where a LoRA target matches no layer."""
    total, count = sum(p.numel() for p in model.parameters()), trained_parameters(model, tune)
    share = f"{count / 1e6:,.1f} of {total / 1e6:,.1f} million parameters train"
    if tune.method == "full":
        return [Finding("ok", "tuning", f"full fine-tuning: {share}")]
    for target in tune.targets:
        if not adapted_layers(model, [target]):
            names = sorted(
                {name.rpartition(".")[2] for name, _ in adapted_layers(model, ["all-linear"])}
            )
            given = f"tune.targets=[{','.join(tune.targets)}]"
            said = f"{given}: no layer of the student is called {target}"
            return [Finding("error", "tuning", said, f"there are {', '.join(names)}")]
    layers = len(adapted_layers(model, tune.targets))
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
