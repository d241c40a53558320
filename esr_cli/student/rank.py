"""A rank: the worker that holds one shard of the student, in a process of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from esr_cli.base.files import CheckpointError
from esr_cli.execution.packing import pack
from esr_cli.student import shards
from esr_cli.student.checkpoint import Tensors
from esr_cli.student.ranks import Ranks, whole
from esr_cli.student.shards import Sent
from esr_cli.student.sides import Heads
from esr_cli.student.student import Student, Update, WeightsError
from esr_cli.types import Rollout, StepScores

Packed = dict[str, Any]
# How long a rank waits for the others; one that died is noticed earlier.
TOGETHER = timedelta(hours=2)


class Rank:
    """Makes its shard of the student by `make(heads, ranks)` once it has joined the other ranks.

    All ranks are called alike. Only the first returns weights and tensors, as whole tensors in
    memory of the host.
    """

    def __init__(self, make: Callable[[Heads, Ranks], Student], device: str, host: str) -> None:
        self._make, self._device, self._host = make, device, host
        self._store: Any = None
        self._handed = Tensors()

    def open(self, first: bool) -> tuple[str, int] | None:
        """Opens the port at which the ranks meet, on the first one's machine."""
        if not first:
            return None
        self._store = dist.TCPStore(
            self._host, 0, is_master=True, wait_for_workers=False, timeout=TOGETHER
        )
        return self._host, self._store.port

    def join(self, host: str, port: int, rank: int, size: int, heads: Heads) -> bool:
        """Joins the other ranks and loads the shard; whether the student's head is a projection."""
        if self._store is None:
            self._store = dist.TCPStore(host, port, is_master=False, timeout=TOGETHER)
        backend = "gloo"
        if self._device.startswith("cuda"):
            torch.cuda.set_device(self._device)
            # Figures and flags travel between hosts.
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(
            backend, store=self._store, rank=rank, world_size=size, timeout=TOGETHER
        )
        mesh = DeviceMesh(self._device.partition(":")[0], list(range(size)))
        self._student = self._make(heads, Ranks(mesh))
        return self._student.splits

    def leave(self) -> None:
        """Leaves the group, so that the process can end."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def update(self, rollouts: list[Rollout], scores: StepScores, step: int) -> Update | str:
        """See `Student.update`; what is wrong, if the weights are not finite."""
        try:
            return self._student.update(rollouts, scores, step)
        except WeightsError as error:
            return str(error)

    def check_weights(self, when: str) -> str:
        """What is wrong with the weights, see `Student.check_weights`; empty if nothing."""
        try:
            self._student.check_weights(when)
        except WeightsError as error:
            return str(error)
        return ""

    def weights(self) -> Tensors:
        """See `Student.weights`; always in the same memory."""
        self.hand_over()
        return self._handed

    def hand_over(self) -> None:
        """Brings what `weights` returned up to date."""
        for name, tensor in self._student.weights().items():
            full = whole(tensor)
            if not self._first:
                continue
            if name not in self._handed:
                self._handed[name] = torch.empty(full.shape, dtype=full.dtype).share_memory_()
            self._handed[name].copy_(full)

    def tensors(self) -> Packed:
        """See `Student.tensors`."""
        return self._gathered(self._student.tensors())

    def complete(self) -> Packed:
        """All that a model folder holds, see `FullTuning.complete`."""
        return self._gathered(self._student.tuning.complete())

    def factors(self) -> Packed:
        """The factors of the adapter, see `LoraTuning.factors`."""
        return self._gathered(self._student.tuning.factors())

    def write_shards(self, folder: Path) -> dict[str, int] | str:
        """See `shards.write`; what is wrong, if the checkpoint cannot be written."""
        try:
            return shards.write(folder, self._student.tensors())
        except CheckpointError as error:
            return str(error)

    def leave_mark(self, folder: Path) -> str:
        """Leaves a file in a folder, if this machine sees the folder; returns the file's name."""
        name = f"{socket.gethostname()}-{os.getpid()}"
        with suppress(OSError):
            (folder / name).touch()
        return name

    def load_tensors(self, folder: Path, tensors: Tensors) -> None:
        """See `Student.restore`, of the tensors of a checkpoint on another machine."""
        self._student.take(folder, Sent(tensors))

    def restore(self, folder: Path) -> None:
        """See `Student.restore`, of a checkpoint on this machine."""
        self._student.restore(folder)

    @property
    def _first(self) -> bool:
        return dist.get_rank() == 0

    def _gathered(self, tensors: Tensors) -> Packed:
        """The whole tensors on the first rank's host; no device holds more than one.

        As bytes, since each tensor in shared memory would keep a file open.
        """
        found = Packed()
        for name, tensor in tensors.items():
            full = whole(tensor)
            if self._first:
                found[name] = pack(full)
        return found
