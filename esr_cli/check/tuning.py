"""What would train, determined on a model without weights."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
from functools import partial
from typing import Any

import torch

from esr_cli.base.words import counted
from esr_cli.config import TrainConfig, TuneConfig
from esr_cli.config.finding import Finding
from esr_cli.models import head_file, loading
from esr_cli.models.continued import Continued, called
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
    text = f"LoRA r={tune.rank} on {layers}: {share}"
    if tune.dropout:
        text += (
            f"; dropout {tune.dropout:g} on the adapters' inputs, so log-probabilities of engine "
            "and trainer are not compared"
        )
    return [Finding("ok", "tuning", text)]


def precision(config: TrainConfig) -> list[Finding]:
    """A warning if 16-bit weights train without fp32 masters, with the weights that cannot move."""
    tune, device = config.tune, loading.pick_device(config.execution.device)
    dtype = loading.pick_dtype(config.pair.dtype, device)
    if tune.master == "float32":
        return []
    if dtype == "float32":
        return [Finding("ok", "precision", "tune.master=none changes nothing: weights are float32")]
    text = (
        f"tune.master=none: weights and AdamW in {dtype}; a step of {tune.learning_rate:g} is lost "
        f"in weights above {first_lost(tune.learning_rate, dtype):.2g} in size"
    )
    remedy = "tune.master=float32; scripts/count_lost_steps.py counts them"
    return [Finding("warning", "precision", text, remedy)]


def prompt_gradient(config: TrainConfig, student: Any) -> list[Finding]:
    """An error if the student's kind computes other states after prompts that are read first.

    Tried on a small model of its kind; one that cannot be made so small is tried when it loads.
    """
    if config.tune.prompt_gradient:
        return []
    text, trusted = "tune.prompt_gradient=false", config.pair.student.trust_remote_code
    try:
        small = head_file.small_model(student.config, trusted)
        agrees = Continued(small, partial(called, small, False)).agrees()
    except Exception:  # whatever an architecture refuses
        return [Finding("warning", "tuning", f"{text}: could not be tried on a small model")]
    if not agrees:
        said = f"{text}: this student computes other states after prompts that are read first"
        return [Finding("error", "tuning", said, "leave it out")]
    text += ": states of prompts count as constants, which is another gradient"
    return [Finding("ok", "tuning", f"{text} (docs/training.md)")]


def first_lost(rate: float, dtype: str) -> float:
    """The power of two above which no weight of a type moves by a step of size `rate`.

    Numbers from 2^e to 2^(e+1) lie eps 2^e apart, and half of that is rounded away.
    """
    return float(2.0 ** math.ceil(math.log2(2 * rate / torch.finfo(getattr(torch, dtype)).eps)))


def rates(tune: TuneConfig, steps: int) -> list[Finding]:
    """The learning rate over the run: warm-up, schedule, and the rate of the last step."""
    text = f"{tune.learning_rate:g}, {tune.schedule}"
    if tune.schedule != "constant":
        text += f" to 0 over {counted(steps, 'step')} (the last: {tune.rate(steps - 1, steps):.2g})"
    if warmup := tune.warmup(steps):
        text += f", after {counted(warmup, 'step')} of warm-up"
    if warmup > steps:
        remedy = f"fewer warm-up steps than steps={steps}"
        return [Finding("warning", "learning rate", f"{text}: never the full rate", remedy)]
    return [Finding("ok", "learning rate", text)]


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
