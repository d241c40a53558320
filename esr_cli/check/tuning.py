"""What would train, determined on a model without weights."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Any

import torch

from esr_cli.base.words import counted
from esr_cli.config import TuneConfig
from esr_cli.config.finding import Finding
from esr_cli.models import loading
from esr_cli.models.outlines import adapted_layers, trained_parameters


def targets(model: Any, tune: TuneConfig) -> list[Finding]:
    """The trained parameters; an error if a LoRA target matches no layer."""
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
            text = f"{given}: no layer of the student is called {target}"
            return [Finding("error", "tuning", text, f"there are {', '.join(names)}")]
    layers = counted(len(adapted_layers(model, tune.targets)), "layer")
    return [Finding("ok", "tuning", f"LoRA r={tune.rank} on {layers}: {share}")]


def compiling(models: dict[str, Any], tune: TuneConfig) -> list[Finding]:
    """An error if `tune.compile` lacks a compiler or if a model's layers are custom code."""
    if not tune.compile:
        return []
    text, compiler = "tune.compile=true", os.environ.get("CXX", "g++")
    if torch.cuda.is_available():
        compiler = os.environ.get("CC", "gcc")
        if importlib.util.find_spec("triton") is None:
            return [Finding("error", "tuning", f"{text}: Triton is not installed", "install it")]
    if shutil.which(compiler) is None:
        return [Finding("error", "tuning", f"{text}: there is no {compiler}", "install it")]
    return [
        Finding("error", "tuning", f"{text}: the {role}'s layers are custom code", "leave it out")
        for role, model in models.items()
        if not loading.layers(model)
    ]
