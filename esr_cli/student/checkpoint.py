"""Checkpoints: a run's tensors as safetensors and its counters as JSON, without pickle.

`state.json` holds a checksum of each file of tensors, so that damage is noticed on reading: of the
one that holds all, or of each that a rank wrote (`shards`).
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from esr_cli.base import files, reading
from esr_cli.base.files import CheckpointError

TENSORS, STATE, CHECKSUM = "tensors.safetensors", "state.json", "crc32"
CHUNK_BYTES = 1 << 22
# Files that are read at the same time.
READERS = 8
Tensors = dict[str, torch.Tensor]
# Writes the tensors into a folder. Returns the checksum of the one file, or that of each by name.
Writer = Callable[[Path], int | dict[str, int]]


def save(run_dir: Path, step: int, write: Writer, state: dict[str, Any], keep: int) -> Path:
    """Writes `checkpoints/step-000050/` and removes all but the last `keep`.

    Raises `CheckpointError`, with the earlier checkpoints intact, if the folder cannot be written
    or if a tensor is not finite.
    """
    before = files.latest(run_dir)
    left = f"{before.name} is intact" if before else "there is no earlier one"

    def fill(folder: Path) -> None:
        checksum = {CHECKSUM: write(folder)}
        (folder / STATE).write_text(json.dumps(state | checksum))

    target = run_dir / "checkpoints" / f"step-{step:06d}"
    try:
        files.write_folder(target, fill)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {left}") from error
    for old in files.checkpoints(run_dir)[:-keep]:
        shutil.rmtree(old)
    return target


def whole(tensors: Tensors) -> Writer:
    """What writes whole tensors as one file; raises `CheckpointError` if one is not finite."""

    def write(folder: Path) -> int:
        bad = sorted(name for name, tensor in tensors.items() if not all_finite([tensor]))
        if bad:
            raise CheckpointError(f"{bad[0]} is not finite")
        save_file(tensors, folder / TENSORS)
        return checksum_of(folder / TENSORS)

    return write


def is_whole(folder: Path) -> bool:
    """Whether one file holds all tensors of a checkpoint."""
    return (folder / TENSORS).exists()


def read_tensors(folder: Path) -> Tensors:
    """Tensors of a checkpoint of one file that `read_state` has found whole."""
    try:
        return load_file(folder / TENSORS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / TENSORS} cannot be read ({error})") from None


def read_state(folder: Path) -> dict[str, Any]:
    """The state of a checkpoint, with its files compared against it.

    Raises `CheckpointError` if a file is missing, broken, changed, or of another step. Checkpoints
    without a checksum are of an earlier version.
    """
    try:
        state = files.read_json(folder / STATE)
        if not isinstance(state, dict):
            raise ValueError("no mapping")
        for key in ("step", "total_steps"):
            value = state.get(key, 1)
            if type(value) is not int or (key == "total_steps" and value < 1):
                raise ValueError(f"{STATE}: {key}={value!r}")
        _compare_files(folder, state)
        if state.get("step", files.step_of(folder)) != files.step_of(folder):
            raise ValueError(f"{STATE} is of step {state['step']}")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is damaged ({error})") from None
    return state


def _compare_files(folder: Path, state: dict[str, Any]) -> None:
    """Raises `ValueError` unless the folder has the files of its state, and no other tensors."""
    value = state.get(CHECKSUM)
    sums = value if isinstance(value, dict) else {TENSORS: value}
    if CHECKSUM in state and any(type(each) is not int for each in sums.values()):
        raise ValueError(f"{STATE}: {CHECKSUM} is no checksum")
    there = {path.name for path in folder.glob("*.safetensors")}
    for name in sorted(there ^ sums.keys()):
        raise ValueError(f"{name} {'is not one of its files' if name in there else 'is missing'}")
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(checksum_of, [folder / name for name in sums])
        for name, each in zip(sums, found, strict=True):
            if each != (sums[name] if CHECKSUM in state else each):
                raise ValueError(f"{name} does not match its checksum")


def checksum_of(path: Path) -> int:
    """The CRC-32 of a file. It notices damage, not intent, and is as fast as a disk."""
    value = 0
    with reading.open_file(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            value = zlib.crc32(chunk, value)
    return value


def all_finite(tensors: list[torch.Tensor]) -> bool:
    """Whether no value is infinite or NaN, by one reduction over all tensors of a device."""
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    if not floats:
        return True
    return bool(torch.stack(torch._foreach_norm(floats)).isfinite().all())


def pack_optimizer(optimizer: torch.optim.Optimizer, names: list[str]) -> Tensors:
    """An optimizer's tensors, keyed `optimizer/<parameter>/<entry>`; `names` in parameter order."""
    packed = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for entry, value in entries.items():
            packed[f"optimizer/{names[index]}/{entry}"] = torch.as_tensor(value)
    return packed


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, names: list[str], tensors: Tensors
) -> None:  # fmt: skip
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
    """Restores the states of `random_state`; raises `CheckpointError` if they are none."""
    try:
        torch.set_rng_state(tensors["random/cpu"].cpu())
        if torch.cuda.is_available() and "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"].cpu())
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"the random state cannot be restored ({error})") from None


def room_for(
    folder: Path, outline: Tensors, parameters: dict[str, torch.nn.Parameter]
) -> Tensors:  # fmt: skip
    """Where the tensors of a checkpoint go: weights into the parameters, others into new tensors.

    `outline` has their types and shapes. A moment is held as its parameter is, whole or as a shard.
    Raises `CheckpointError` if they are of another model.
    """
    room = weights_for(folder, outline, parameters)
    for key, tensor in outline.items():
        if key.startswith("optimizer/"):
            name, _, entry = key.removeprefix("optimizer/").partition("/")
            fits = name in parameters and tensor.shape in (parameters[name].shape, ())
            if not fits or not entry or "/" in entry:
                raise CheckpointError(f"{key} of shape {list(tensor.shape)} fits no weight")
            like = parameters[name] if tensor.ndim else torch.empty(())
            room[key] = torch.empty_like(like, dtype=tensor.dtype)
        elif key.startswith("random/"):
            room[key] = torch.empty_like(tensor, device="cpu")
    return room


def weights_for(
    folder: Path, outline: Tensors, parameters: dict[str, torch.nn.Parameter]
) -> Tensors:  # fmt: skip
    """The parameters by the names that a checkpoint of `outline` gives their weights.

    Raises `CheckpointError` if the weights are of another model: reading would broadcast a shape.
    """
    saved = {name.removeprefix("weight/"): tensor for name, tensor in outline.items()
             if name.startswith("weight/")}  # fmt: skip
    remedy = "the student's model or tune.* differs from the saved run's"
    if lost := sorted(parameters.keys() ^ saved.keys()):
        where = "is missing" if lost[0] in parameters else "is not in the model"
        raise CheckpointError(f"{folder}: weight {lost[0]} {where}; {remedy}")
    for name, parameter in parameters.items():
        given, wanted = (f"{t.dtype} {list(t.shape)}" for t in (saved[name], parameter))
        if given != wanted:
            raise CheckpointError(f"{folder}: weight {name} is {given}, not {wanted}; {remedy}")
    return {f"weight/{name}": parameter.detach() for name, parameter in parameters.items()}
