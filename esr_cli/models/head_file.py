"""Reads the output head of a model from its files, without loading the model."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM
from transformers.utils import cached_file

from esr_cli.base.failures import Failure
from esr_cli.distill.head import Head
from esr_cli.models import loading

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# Types of numbers that are not quantized, as safetensors names them.
PLAIN = ("F64", "F32", "F16", "BF16")
WRAPPERS = ("model", "language_model", "text_model", "transformer", "decoder")
# Settings of a model that is as small as its architecture allows with states of the same width.
SMALL = {
    "num_hidden_layers": 1, "vocab_size": 64, "intermediate_size": 64, "moe_intermediate_size": 64,
    "pad_token_id": None, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip


class HeadError(Failure):
    """A model's files hold no output head that is a plain projection."""


def load(
    path: str, skeleton: Any, columns: Sequence[int], dtype: str, revision: str | None = None
) -> Head:
    """The head of the given rows in `dtype`; of the files, only its own tensors are read.

    `skeleton` is the model without weights, which knows the names. `path` is a folder or a hub id.
    Raises `HeadError` if the head is not a projection, or is not stored as plain numbers.
    """
    kind, (weight, bias) = getattr(torch, dtype), find(path, skeleton, revision)
    bias_V = None if bias is None else bias.read().to(kind)
    return loading.head_like(skeleton.config, weight.read().to(kind), bias_V).picked(columns)


def find(path: str, skeleton: Any, revision: str | None = None) -> tuple[Stored, Stored | None]:
    """Where the weight of the head and its bias stand; raises `HeadError`, see `load`."""
    layer = skeleton.get_output_embeddings()
    if not isinstance(layer, torch.nn.Linear):
        raise HeadError(f"{path}: its output head is more than a projection")
    files = _Files(loading.resolve(path), revision)
    weight = files.stored(_names(skeleton, layer.weight))
    bias = files.stored(_names(skeleton, layer.bias)) if layer.bias is not None else None
    if weight.shape != tuple(layer.weight.shape) or weight.dtype not in PLAIN:
        raise HeadError(
            f"{path}: its head is stored as {weight.shape} of {weight.dtype}, not as plain "
            f"{tuple(layer.weight.shape)}; name a folder without quantization"
        )
    return weight, bias


@torch.no_grad()
def is_plain(config: Any, trust_remote_code: bool = False) -> bool | None:
    """Whether a model's logits are its head's product with the last states, as `head_like` knows.

    Tried on a model of one layer with random weights; None if the architecture takes none so small.
    """
    try:
        model = small_model(config, trust_remote_code)
        return loading.head_agrees(model, loading.head_of(model))
    except Exception:  # whatever an architecture refuses
        return None


def small_model(config: Any, trust_remote_code: bool = False) -> Any:
    """A model of this kind with one layer and random weights, to try what its code does."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(
            _shrunk(config), trust_remote_code=trust_remote_code, dtype=torch.float32
        ).eval()


def _shrunk(config: Any) -> Any:
    small = copy.deepcopy(config)
    shape = small.get_text_config()
    for name, value in SMALL.items():
        if hasattr(shape, name):
            setattr(shape, name, value)
    if getattr(shape, "layer_types", None):
        with suppress(AttributeError):  # it may follow from other settings
            shape.layer_types = shape.layer_types[:1]
    return small


def _names(skeleton: Any, wanted: torch.Tensor) -> list[str]:
    """The names of a parameter: several if it is tied to another."""
    named = skeleton.named_parameters(remove_duplicate=False)
    return [name for name, parameter in named if parameter is wanted]


def _bare(name: str) -> str:
    """A name without the wrappers around a language model, which differ between versions."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


@dataclass(frozen=True)
class Stored:
    """A tensor in a safetensors file."""

    file: str
    name: str
    shape: tuple[int, ...]
    dtype: str

    def read(self) -> torch.Tensor:
        """The tensor; the rest of the file is not read."""
        with safe_open(self.file, "pt") as opened:
            return opened.get_tensor(self.name)


class _Files:
    """The safetensors files of a folder or a hub id; only those that are asked for are fetched."""

    def __init__(self, path: str, revision: str | None) -> None:
        self.path, self.revision = path, revision
        if single := self._file(SINGLE):
            with safe_open(single, "pt") as opened:
                self.file_of = dict.fromkeys(opened.keys(), SINGLE)
        elif index := self._file(INDEX):
            self.file_of = json.loads(Path(index).read_text())["weight_map"]
        else:
            raise HeadError(f"{path}: holds no {SINGLE}; save the model with transformers")

    def stored(self, names: Sequence[str]) -> Stored:
        """The tensor with one of these names, perhaps in other wrappers."""
        bare = {_bare(name) for name in names}
        known = [name for name in names if name in self.file_of] or [
            name for name in self.file_of if _bare(name) in bare
        ]
        if not known:
            raise HeadError(f"{self.path}: holds none of the tensors {', '.join(names)}")
        if len(known) > 1 and not set(known) <= set(names):
            raise HeadError(f"{self.path}: {', '.join(known)} may all be its head")
        file = str(self._file(self.file_of[known[0]]))
        with safe_open(file, "pt") as opened:
            found = opened.get_slice(known[0])
            return Stored(file, known[0], tuple(found.get_shape()), found.get_dtype())

    def _file(self, name: str) -> str | None:
        return cached_file(
            self.path, name, revision=self.revision, _raise_exceptions_for_missing_entries=False
        )
