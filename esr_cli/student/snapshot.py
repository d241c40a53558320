"""Saves the student of a run to a checkpoint, and restores it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from esr_cli.base import files
from esr_cli.base.files import CheckpointError
from esr_cli.student import checkpoint
from esr_cli.student.tuning import Tuning

DAMAGED = ".damaged"


class Trained(Protocol):
    """A student whose state is saved, wherever it is."""

    total_steps: int

    def tensors(self) -> checkpoint.Tensors:
        """See `Student.tensors`."""
        ...

    def restore(self, folder: Path) -> None:
        """See `Student.restore`."""
        ...


def save(folder: Path, step: int, student: Trained, keep: int, data: str = "") -> Path:
    """Saves trained weights, optimizer and random states after `step` steps.

    The schedule and the data position depend on the step only. `data` is the fingerprint of the
    training data. Raises `CheckpointError` if it cannot be saved.
    """
    state = {"step": step, "total_steps": student.total_steps, "data": data}
    return checkpoint.save(folder, step, student.tensors(), state, keep)


def last_whole(folder: Path) -> tuple[Path | None, dict[str, Any], list[str]]:
    """The last undamaged checkpoint of a run, its state, and a line on each damaged later one.

    Damaged checkpoints are renamed, so that they no longer count.
    """
    lines: list[str] = []
    for each in reversed(files.checkpoints(folder)):
        try:
            return each, checkpoint.read_state(each), lines
        except CheckpointError as error:
            aside = each.with_name(each.name + DAMAGED)
            each.rename(aside)
            lines.append(f"{error}; it is kept as {aside.name}")
    return None, {}, lines


@torch.no_grad()
def merged(folder: Path, tuning: Tuning) -> dict[str, torch.Tensor]:
    """A checkpoint's weights for the engine, loaded into `tuning` and merged.

    Raises `CheckpointError` if the checkpoint is damaged or of another model.
    """
    tensors, _ = checkpoint.load(folder)
    parameters = tuning.trainable()
    for name, parameter in parameters.items():
        saved = tensors.get(f"weight/{name}")
        # Without masters the weights are saved in 16 bits, and a CPU may evaluate them in fp32.
        if saved is not None and (saved.dtype, parameter.dtype) == (torch.bfloat16, torch.float32):
            tensors[f"weight/{name}"] = saved.float()
    checkpoint.copy_weights(folder, tensors, parameters)
    tuning.publish()
    return tuning.merged()


def restore(folder: Path, student: Trained) -> None:
    """Restores weights, optimizer and random states from a checkpoint that `last_whole` returned.

    Raises `CheckpointError` if the checkpoint cannot be read or is of another model.
    """
    student.restore(folder)
