"""Saves the student of a run to a checkpoint, and restores it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from esr_cli.base import files
from esr_cli.base.files import CheckpointError
from esr_cli.student import checkpoint
from esr_cli.student.shards import Stored
from esr_cli.student.tuning import Tuning

DAMAGED = ".damaged"


class Trained(Protocol):
    """A student whose state is saved, wherever it is."""

    total_steps: int

    def writer(self) -> checkpoint.Writer:
        """See `Student.writer`."""
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
    return checkpoint.save(folder, step, student.writer(), state, keep)


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
    checkpoint.read_state(folder)
    saved, parameters = Stored(folder), tuning.trainable()
    outline = dict(saved.outline)
    for name, parameter in parameters.items():
        key = f"weight/{name}"
        # Without masters the weights are saved in 16 bits, and a CPU may evaluate them in fp32.
        narrow = key in outline and outline[key].dtype == torch.bfloat16
        if narrow and parameter.dtype == torch.float32:
            outline[key] = outline[key].float()
    saved.fill(checkpoint.weights_for(folder, outline, parameters))
    tuning.publish()
    return tuning.merged()


def restore(folder: Path, student: Trained) -> None:
    """Restores weights, optimizer and random states from a checkpoint that `last_whole` returned.

    Raises `CheckpointError` if the checkpoint cannot be read or is of another model.
    """
    student.restore(folder)
