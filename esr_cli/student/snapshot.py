"""Saves the student of a run to a checkpoint, and restores it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from esr_cli.base import files
from esr_cli.base.files import CheckpointError
from esr_cli.student import checkpoint
from esr_cli.student.student import Student
from esr_cli.student.tuning import Tuning

DAMAGED = ".damaged"


def save(folder: Path, step: int, student: Student, keep: int, data: str = "") -> Path:
    """Saves trained weights, optimizer and random states after `step` steps.

    The schedule and the data position depend on the step only. `data` is the fingerprint of the
    training data. Raises `CheckpointError` if it cannot be saved.
    """
    tensors = {f"weight/{name}": p.detach() for name, p in student.parameters.items()}
    tensors |= checkpoint.pack_optimizer(student.optimizer, list(student.parameters))
    state = {"step": step, "total_steps": student.total_steps, "data": data}
    return checkpoint.save(folder, step, tensors | checkpoint.random_state(), state, keep)


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
    _copy_weights(folder, tensors, parameters)
    tuning.publish()
    return tuning.merged()


@torch.no_grad()
def restore(folder: Path, student: Student) -> None:
    """Restores weights, optimizer and random states from a checkpoint that `last_whole` returned.

    Raises `CheckpointError` if the checkpoint cannot be read or is of another model.
    """
    tensors = checkpoint.read_tensors(folder)
    _copy_weights(folder, tensors, student.parameters)
    student.tuning.publish()
    checkpoint.unpack_optimizer(student.optimizer, list(student.parameters), tensors)
    checkpoint.restore_random_state(tensors)


def _copy_weights(
    folder: Path, tensors: checkpoint.Tensors, parameters: dict[str, torch.nn.Parameter]
) -> None:
    """Copies the weights, all of them compared first: a copy would broadcast another shape."""
    saved = {name.removeprefix("weight/"): tensor for name, tensor in tensors.items()
             if name.startswith("weight/")}  # fmt: skip
    remedy = "the student's model or tune.* differs from the saved run's"
    if lost := sorted(parameters.keys() ^ saved.keys()):
        where = "is missing" if lost[0] in parameters else "is not in the model"
        raise CheckpointError(f"{folder}: weight {lost[0]} {where}; {remedy}")
    for name, parameter in parameters.items():
        given, wanted = (f"{t.dtype} {list(t.shape)}" for t in (saved[name], parameter))
        if given != wanted:
            raise CheckpointError(f"{folder}: weight {name} is {given}, not {wanted}; {remedy}")
    for name, parameter in parameters.items():
        parameter.copy_(saved[name])
