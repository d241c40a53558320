"""Tensors as plain bytes, which Ray passes between machines much faster than tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Packed:
    """A tensor's bytes, its shape, and the name of its dtype."""

    content: np.ndarray[Any, np.dtype[np.uint8]]
    shape: tuple[int, ...]
    dtype: str


def pack(value: Any) -> Any:
    """The value with every tensor as bytes on the host: of itself, a dictionary or a dataclass."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        content = flat.view(torch.uint8) if len(flat) else flat.to(torch.uint8)
        return Packed(content.numpy(), tuple(value.shape), str(value.dtype).removeprefix("torch."))
    return _mapped(value, pack)


def size_of(value: Any) -> int:
    """The bytes of all tensors in a packed value."""
    if isinstance(value, Packed):
        return value.content.nbytes
    if isinstance(value, dict):
        return sum(map(size_of, value.values()))
    if is_dataclass(value) and not isinstance(value, type):
        return sum(size_of(getattr(value, each.name)) for each in fields(value))
    return 0


def unpack(value: Any) -> Any:
    """What `pack` was given. Tensors are copies, which may be written to."""
    if isinstance(value, Packed):
        kind = getattr(torch, value.dtype)
        if not len(value.content):
            return torch.empty(value.shape, dtype=kind)
        return torch.from_numpy(value.content.copy()).view(kind).reshape(value.shape)
    return _mapped(value, unpack)


def _mapped(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {key: change(each) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        found = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
        return replace(value, **{name: change(each) for name, each in found.items()})
    return value
