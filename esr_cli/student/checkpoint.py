"""Checkpoints: a run's tensors as safetensors and its counters as JSON, without pickle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from esr_cli.base import files
from esr_cli.base.files import CheckpointError

TENSORS, STATE = "tensors.safetensors", "state.json"
Tensors = dict[str, torch.Tensor]


def save(run_dir: Path, step: int, tensors: Tensors, state: dict[str, Any], keep: int) -> Path:
    """Writes `checkpoints/step-000050/` and removes all but the last `keep`."""

    def write(folder: Path) -> None:
        # Copies, since safetensors refuses tensors that share memory.
        save_file(
            {name: tensor.detach().clone() for name, tensor in tensors.items()}, folder / TENSORS
        )
        (folder / STATE).write_text(json.dumps(state))

    before = files.latest(run_dir)
    target = run_dir / "checkpoints" / f"step-{step:06d}"
    try:
        files.write_folder(target, write)
    except CheckpointError as error:
        left = f"{before.name} is intact" if before else "there is no earlier one"
        raise CheckpointError(f"{error}; {left}") from error
    for old in files.checkpoints(run_dir)[:-keep]:
        shutil.rmtree(old)
    return target


def load(folder: Path, device: str = "cpu") -> tuple[Tensors, dict[str, Any]]:
    """Tensors and state of a checkpoint."""
    return load_file(folder / TENSORS, device=device), json.loads((folder / STATE).read_text())


def pack_optimizer(optimizer: torch.optim.Optimizer, names: list[str]) -> Tensors:
    """An optimizer's tensors, keyed `optimizer/<parameter>/<entry>`; `names` in parameter order."""
    packed = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for entry, value in entries.items():
            packed[f"optimizer/{names[index]}/{entry}"] = torch.as_tensor(value)
    return packed


def unpack_optimizer(optimizer: torch.optim.Optimizer, names: list[str], tensors: Tensors) -> None:
    """Restores the tensors of `pack_optimizer`."""
    state = optimizer.state_dict()
    state["state"] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer/"):
            _, name, entry = key.split("/")
            state["state"].setdefault(names.index(name), {})[entry] = tensor
    optimizer.load_state_dict(state)


def random_state() -> Tensors:
    """Torch's random states. Dropout in a model would depend on them; rollouts do not."""
    states = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random/cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_state(tensors: Tensors) -> None:
    """Restores the states of `random_state`."""
    torch.set_rng_state(tensors["random/cpu"].cpu())
    if torch.cuda.is_available() and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"].cpu())
