"""Checkpoints that are whole or absent: written beside, synced, renamed. No pickle anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

TENSORS, STATE = "tensors.safetensors", "state.json"
Tensors = dict[str, torch.Tensor]


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; the one before it is intact."""


def save(run_dir: Path, step: int, tensors: Tensors, state: dict[str, Any], keep: int) -> Path:
    """Writes `checkpoints/step-000050/` and removes all but the last `keep`."""

    def write(folder: Path) -> None:
        # Copies, since safetensors refuses tensors that share their memory.
        save_file(
            {name: tensor.detach().clone() for name, tensor in tensors.items()}, folder / TENSORS
        )
        (folder / STATE).write_text(json.dumps(state))

    before = latest(run_dir)
    target = run_dir / "checkpoints" / f"step-{step:06d}"
    try:
        write_folder(target, write)
    except CheckpointError as error:
        left = f"{before.name} is intact" if before else "there is none before it"
        raise CheckpointError(f"{error}; {left}") from error
    for old in _all(run_dir)[:-keep]:
        shutil.rmtree(old)
    return target


def write_folder(target: Path, write: Callable[[Path], Any]) -> None:
    """Fills a folder by `write` so that `target` is, at every moment, whole or as it was.

    Raises `CheckpointError` where it cannot be filled.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        write(partial)
        for entry in [*partial.rglob("*"), partial]:
            _sync(entry)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        # safetensors reports a full disk by an exception of its own.
        if isinstance(error, Exception):
            raise CheckpointError(f"{target.name} could not be saved ({error})") from error
        raise
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    _sync(target.parent)


def latest(run_dir: Path) -> Path | None:
    """The last whole checkpoint of a run, or none."""
    whole = _all(run_dir)
    return whole[-1] if whole else None


def load(folder: Path, device: str = "cpu") -> tuple[Tensors, dict[str, Any]]:
    """Tensors and state of a checkpoint."""
    return load_file(folder / TENSORS, device=device), json.loads((folder / STATE).read_text())


def pack_optimizer(optimizer: torch.optim.Optimizer, names: list[str]) -> Tensors:
    """An optimizer's tensors, keyed `optimizer/<parameter>/<what>`; names in parameter order."""
    packed = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for what, value in entries.items():
            packed[f"optimizer/{names[index]}/{what}"] = torch.as_tensor(value)
    return packed


def unpack_optimizer(optimizer: torch.optim.Optimizer, names: list[str], tensors: Tensors) -> None:
    """Puts what `pack_optimizer` gave back."""
    whole = optimizer.state_dict()
    whole["state"] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer/"):
            _, name, what = key.split("/")
            whole["state"].setdefault(names.index(name), {})[what] = tensor
    optimizer.load_state_dict(whole)


def random_state() -> Tensors:
    """Torch's random states; rollouts do not depend on them, dropout in a model would."""
    states = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random/cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_state(tensors: Tensors) -> None:
    """Puts what `random_state` gave back."""
    torch.set_rng_state(tensors["random/cpu"].cpu())
    if torch.cuda.is_available() and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"].cpu())


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that the file is whole or absent."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    _sync(partial)
    partial.rename(path)


def truncate_jsonl(path: Path, step: int) -> None:
    """Keeps the rows up to `step`; a last line broken off by a crash goes too."""
    kept = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["step"] <= step:
            kept.append(line + "\n")
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("".join(kept))
    _sync(partial)
    partial.rename(path)


def hash_of(config: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that change with any setting."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _all(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "checkpoints").glob("step-*"))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
