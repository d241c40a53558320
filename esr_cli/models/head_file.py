"""Reads the output head of a model from its files, without loading the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers.utils import cached_file

from esr_cli.base.failures import Failure
from esr_cli.distill.head import Head
from esr_cli.models import loading

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


class HeadError(Failure):
    """A model's files hold no output head that is a plain projection."""


def load(
    path: str, skeleton: Any, columns: Sequence[int], dtype: str, revision: str | None = None
) -> Head:
    """The head of the given rows in `dtype`; of the files, only its own tensors are read.

    `skeleton` is the model without weights, which knows the names. `path` is a folder or a hub id.
    Raises `HeadError` if the head is not a projection, or is not stored as plain numbers.
    """
    layer = skeleton.get_output_embeddings()
    if not isinstance(layer, torch.nn.Linear):
        raise HeadError(f"{path}: its output head is more than a projection")
    files = _Files(loading.resolve(path), revision)
    weight_VD = files.tensor(_names(skeleton, layer.weight))
    bias_V = files.tensor(_names(skeleton, layer.bias)) if layer.bias is not None else None
    if weight_VD.shape != layer.weight.shape or not weight_VD.is_floating_point():
        found = f"{tuple(weight_VD.shape)} of {weight_VD.dtype}"
        raise HeadError(
            f"{path}: its head is stored as {found}; name a folder without quantization"
        )
    kind = getattr(torch, dtype)
    bias_V = None if bias_V is None else bias_V.to(kind)
    return loading.head_like(skeleton.config, weight_VD.to(kind), bias_V).picked(columns)


def _names(skeleton: Any, wanted: torch.Tensor) -> list[str]:
    """The names of a parameter: several if it is tied to another."""
    named = skeleton.named_parameters(remove_duplicate=False)
    return [name for name, parameter in named if parameter is wanted]


class _Files:
    """The safetensors files of a folder or a hub id; only those that are asked for are fetched."""

    def __init__(self, path: str, revision: str | None) -> None:
        self.path, self.revision = path, revision
        index = self._file(INDEX)
        if index:
            self.file_of: dict[str, str] = json.loads(Path(index).read_text())["weight_map"]
        elif single := self._file(SINGLE):
            with safe_open(single, "pt") as opened:
                self.file_of = dict.fromkeys(opened.keys(), SINGLE)
        else:
            raise HeadError(f"{path}: holds no {SINGLE}; save the model with transformers")

    def tensor(self, names: Sequence[str]) -> torch.Tensor:
        """The tensor with one of these names, or one that ends in it (a multimodal model's)."""
        ends = [f".{name.removeprefix('model.')}" for name in names]
        known = [name for name in names if name in self.file_of] or [
            name for name in self.file_of if any(f".{name}".endswith(end) for end in ends)
        ]
        if not known:
            raise HeadError(f"{self.path}: holds none of the tensors {', '.join(names)}")
        with safe_open(str(self._file(self.file_of[known[0]])), "pt") as opened:
            return opened.get_tensor(known[0])

    def _file(self, name: str) -> str | None:
        return cached_file(
            self.path, name, revision=self.revision, _raise_exceptions_for_missing_entries=False
        )
