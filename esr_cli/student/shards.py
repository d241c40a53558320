"""The tensors of a checkpoint in parts: each rank writes its own, and any process reads what it
holds, of a checkpoint that is one file too.

The files are the safetensors storage of `torch.distributed.checkpoint`, which has no pickle: each
says where its parts belong. Nothing else describes the tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import (
    DefaultLoadPlanner,
    DefaultSavePlanner,
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.api import CheckpointException

from esr_cli.base.files import CheckpointError
from esr_cli.student.checkpoint import Tensors, all_finite, checksum_of
from esr_cli.student.ranks import local, shard_of

# A rank holds one file of its own on the host while it writes it.
FILE_BYTES = 1 << 30


def write(folder: Path, tensors: Tensors, file_bytes: int = FILE_BYTES) -> dict[str, int]:
    """Writes this rank's part of sharded tensors; all ranks must call it.

    What every rank holds whole is written by the first. Files of a rank have about `file_bytes`.
    Returns the checksum of each file that this rank wrote. Raises `CheckpointError` on all ranks if
    a tensor is not finite on any, or if a file of any cannot be written.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    bad = [name for name, tensor in tensors.items() if not all_finite([local(tensor)])]
    of_ranks: list[Any] = [None] * size
    dist.all_gather_object(of_ranks, bad)
    if names := sorted(set().union(*of_ranks)):
        raise CheckpointError(f"{names[0]} is not finite")
    ends = accumulate(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    numbers = [1 + end // (size * file_bytes) for end in ends]
    writer = HuggingFaceStorageWriter(
        str(folder), dict(zip(tensors, numbers, strict=True)), save_distributed=True
    )
    try:
        planner = DefaultSavePlanner(dedup_save_to_lowest_rank=True)
        dcp.save(tensors, storage_writer=writer, planner=planner)
    except CheckpointException as error:
        [(cause, _), *_] = error.failures.values()
        raise CheckpointError(str(cause)) from error
    own = folder.glob(f"shard-{rank + 1:05d}-*.safetensors")
    return {path.name: checksum_of(path) for path in sorted(own)}


class Stored:
    """The tensors of a checkpoint that `read_state` has found whole: one file, or shards.

    `outline` has all of them without memory, on the meta device. Raises `CheckpointError` if they
    cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._reader = folder, HuggingFaceStorageReader(str(folder))
        with self._readable():
            self._metadata: Any = self._reader.read_metadata()
            found = self._metadata.state_dict_metadata.items()
            self.outline = {name: _outline(name, each) for name, each in found}

    def fill(self, tensors: Tensors) -> None:
        """Reads into whole or sharded tensors, in place; each has its equal in `outline`.

        A shard is read alone. No process waits for another.
        """
        planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        with self._readable():
            self._reader.set_up_storage_reader(self._metadata, is_coordinator=True)
            planner.set_up_planner(tensors, self._metadata, is_coordinator=True)
            self._reader.read_data(planner.finish_plan(planner.create_local_plan()), planner)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        # A stranger may have written the files, and what they say of their parts is not checked
        # by the reader.
        except Exception as error:
            raise CheckpointError(f"{self._folder} cannot be read ({error})") from error


class Sent:
    """Whole tensors in place of files that this machine does not see; see `Stored`."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self.outline = {name: each.to("meta") for name, each in tensors.items()}

    def fill(self, tensors: Tensors) -> None:
        """Copies into whole or sharded tensors, in place."""
        for name, tensor in tensors.items():
            tensor.copy_(shard_of(self._tensors[name], tensor))


def _outline(name: str, described: Any) -> torch.Tensor:
    parts = sum(math.prod(part.sizes) for part in described.chunks)
    if parts != math.prod(described.size):
        raise ValueError(f"parts of {name} are missing")
    return torch.empty(described.size, dtype=described.properties.dtype, device="meta")
