"""Saves the student of a run to a checkpoint, and restores it."""

from __future__ import annotations

from pathlib import Path

import torch

from esr_cli.student import checkpoint
from esr_cli.student.student import Student
from esr_cli.student.tuning import Tuning


def save(folder: Path, step: int, student: Student, keep: int) -> Path:
    """Saves trained weights, optimizer and random states after `step` steps.

    The schedule and the data position depend on the step only.
    """
    tensors = {f"weight/{name}": p.detach() for name, p in student.parameters.items()}
    tensors |= checkpoint.pack_optimizer(student.optimizer, list(student.parameters))
    state = {"step": step, "total_steps": student.total_steps}
    return checkpoint.save(folder, step, tensors | checkpoint.random_state(), state, keep)


@torch.no_grad()
def merged(folder: Path, tuning: Tuning) -> dict[str, torch.Tensor]:
    """A checkpoint's weights for the engine, loaded into `tuning` and merged."""
    tensors, _ = checkpoint.load(folder)
    for name, parameter in tuning.trainable().items():
        parameter.copy_(tensors[f"weight/{name}"])
    tuning.publish()
    return tuning.merged()


@torch.no_grad()
def restore(folder: Path, student: Student) -> None:
    """Restores weights, optimizer and random states from a checkpoint."""
    tensors, _ = checkpoint.load(folder)
    for name, parameter in student.parameters.items():
        parameter.copy_(tensors[f"weight/{name}"])
    student.tuning.publish()
    checkpoint.unpack_optimizer(student.optimizer, list(student.parameters), tensors)
    checkpoint.restore_random_state(tensors)
