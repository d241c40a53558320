"""Whether a student can be sharded over several trainers."""

from __future__ import annotations

from typing import Any

from torch import nn

from esr_cli.assembly.memory import dtype_of
from esr_cli.config import TrainConfig
from esr_cli.config.finding import Finding


def findings(config: TrainConfig, student: Any) -> list[Finding]:
    """An error if ranks cannot hold the student; `student` is a model without weights."""
    reason = _reason(config, student) if config.execution.trainers > 1 else ""
    if not reason:
        return []
    said = f"execution.trainers={config.execution.trainers}: {reason}"
    return [Finding("error", "trainers", said, "give execution.trainers=1")]


def _reason(config: TrainConfig, student: Any) -> str:
    for name, module in student.named_modules():
        # Ranks sum the gradients of a layer together, so a token must reach all of its weights.
        if name.rpartition(".")[2] == "experts" and isinstance(module, nn.ModuleList):
            return f"the student has experts one by one ({name}), of which a rank may use others"
    for name, parameter in student.named_parameters():
        if parameter.ndim == 0:
            return f"the student's weight {name} is a single number, which cannot be sharded"
        wide = _kept_wide(student, name)
        if wide and config.tune.method == "full" and dtype_of(config) == "bfloat16":
            return f"the student keeps {name} in fp32 beside bfloat16, which ranks would round"
    return ""


def _kept_wide(student: Any, name: str) -> bool:
    """Whether transformers keeps a weight in fp32 in a model of 16 bits."""
    keys = [
        *(getattr(student, "_keep_in_fp32_modules", None) or ()),
        *(getattr(student, "_keep_in_fp32_modules_strict", None) or ()),
    ]
    return any(f".{key}." in f".{name}." for key in keys)
