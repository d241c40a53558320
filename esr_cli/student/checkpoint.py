"""Checkpoints: a run's tensors as safetensors and its counters as JSON, without pickle.

`state.json` holds a checksum of the tensors' file, so that damage is noticed on reading.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from esr_cli.base import files, reading
from esr_cli.base.files import CheckpointError

TENSORS, STATE, CHECKSUM = "tensors.safetensors", "state.json", "crc32"
CHUNK_BYTES = 1 << 22
Tensors = dict[str, torch.Tensor]
# What a process holds of a parameter, from the whole tensor.
Held = Callable[[torch.Tensor, torch.nn.Parameter], torch.Tensor]


def _whole(tensor: torch.Tensor, parameter: torch.nn.Parameter) -> torch.Tensor:
    return tensor


def save(run_dir: Path, step: int, tensors: Tensors, state: dict[str, Any], keep: int) -> Path:
    """Writes `checkpoints/step-000050/` and removes all but the last `keep`.

    Raises `CheckpointError`, with the earlier checkpoints intact, if the folder cannot be written
    or if a tensor is not finite.
    """
    before = files.latest(run_dir)
    left = f"{before.name} is intact" if before else "there is no earlier one"
    bad = sorted(name for name, tensor in tensors.items() if not all_finite([tensor]))
    if bad:
        raise CheckpointError(f"step {step} is not saved, as {bad[0]} is not finite; {left}")

    def write(folder: Path) -> None:
        # Copies, since safetensors refuses tensors that share memory.
        save_file(
            {name: tensor.detach().clone() for name, tensor in tensors.items()}, folder / TENSORS
        )
        checksum = {CHECKSUM: checksum_of(folder / TENSORS)}
        (folder / STATE).write_text(json.dumps(state | checksum))

    target = run_dir / "checkpoints" / f"step-{step:06d}"
    try:
        files.write_folder(target, write)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {left}") from error
    for old in files.checkpoints(run_dir)[:-keep]:
        shutil.rmtree(old)
    return target


def load(folder: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and state of a checkpoint. Raises `CheckpointError` if either is damaged."""
    state = read_state(folder)
    return read_tensors(folder), state


def read_tensors(folder: Path) -> Tensors:
    """Tensors of a checkpoint that `read_state` has found whole, without a second checksum."""
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
        for key in ("step", "total_steps", CHECKSUM):
            value = state.get(key, 1)
            if type(value) is not int or (key == "total_steps" and value < 1):
                raise ValueError(f"{STATE}: {key}={value!r}")
        found = checksum_of(folder / TENSORS)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is damaged ({error})") from None
    if found != state.get(CHECKSUM, found):
        raise CheckpointError(f"{folder} is damaged ({TENSORS} does not match its checksum)")
    if state.get("step", files.step_of(folder)) != files.step_of(folder):
        raise CheckpointError(f"{folder} is damaged ({STATE} is of step {state['step']})")
    return state


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
    optimizer: torch.optim.Optimizer, names: list[str], tensors: Tensors, held: Held = _whole
) -> None:
    """Restores the tensors of `pack_optimizer`; raises `CheckpointError` if they do not fit."""
    state = optimizer.state_dict()
    state["state"] = {}
    parameters = dict(zip(names, optimizer.param_groups[0]["params"], strict=True))
    for key, tensor in tensors.items():
        if key.startswith("optimizer/"):
            _, name, entry = key.split("/")
            if name not in parameters or tensor.shape not in (parameters[name].shape, ()):
                raise CheckpointError(f"{key} of shape {list(tensor.shape)} fits no weight")
            state["state"].setdefault(names.index(name), {})[entry] = held(tensor, parameters[name])
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


def copy_weights(
    folder: Path, tensors: Tensors, parameters: dict[str, torch.nn.Parameter],
    held: Held = _whole,
) -> None:  # fmt: skip
    """Copies the weights, all of them compared first: a copy would broadcast another shape.

    `held` makes of a whole tensor what the process holds of that parameter. Raises
    `CheckpointError` if the weights are of another model.
    """
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
        parameter.copy_(held(saved[name], parameter))
