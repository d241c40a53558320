"""Whether a student can be sharded over several trainers, and how they write checkpoints."""

from __future__ import annotations

from typing import Any

from torch import nn

from esr_cli.assembly.memory import checkpoint_gib, dtype_of
from esr_cli.config import TrainConfig
from esr_cli.config.finding import Finding


def findings(config: TrainConfig, student: Any) -> list[Finding]:
    """An error if ranks cannot hold the student, or a line if they write checkpoints in parts.

    `student` is a model without weights.
    """
    execution = config.execution
    if execution.trainers > 1 and (reason := _reason(config, student)):
        said = f"execution.trainers={execution.trainers}: {reason}"
        return [Finding("error", "trainers", said, "give execution.trainers=1")]
    gib = checkpoint_gib(config, student)
    if not execution.in_shards(gib):
        return []
    said = (
        f"each of the {execution.trainers} writes its part of a checkpoint of {gib:.3g} GiB (more "
        f"than execution.whole_gib={execution.whole_gib:g}); all of them must see the run folder"
    )
    return [Finding("ok", "trainers", said)]


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
