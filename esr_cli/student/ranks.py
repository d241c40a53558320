"""The processes that hold one student: alone, or ranks with a shard of every weight each.

Sharding is FSDP2 (`torch.distributed.fsdp.fully_shard`): a layer's weights are gathered for its own
forward and backward, and its gradients are summed over the ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from types import MethodType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from esr_cli.models import loading
from esr_cli.student.measures import MicroBatch

T = TypeVar("T")


class Alone:
    """One process: every weight is whole, and all micro-batches are its own."""

    size = 1
    sharded = False

    def shard(self, model: Any, dtype: torch.dtype | None = None) -> None:
        """Shards the model's weights in place; computes in `dtype`, if given."""

    def states_of(self, model: Any) -> Callable[..., torch.Tensor]:
        """What computes `hidden_BLD`, see `loading.hidden_states`."""
        return partial(loading.hidden_states, model)

    def budget(self, lengths: Sequence[int], tokens: int) -> int:
        """The token budget of a micro-batch, at most `tokens`."""
        return tokens

    def share(self, groups: list[T]) -> Iterator[tuple[int, T, bool]]:
        """The micro-batches of this process: number, micro-batch, and whether it counts."""
        for number, group in enumerate(groups):
            yield number, group, True

    def gather(self, parts: list[MicroBatch]) -> list[MicroBatch]:
        """The micro-batches of all processes, by number."""
        return parts

    def all(self, flag: bool) -> bool:
        """Whether the flag is set in all processes."""
        return flag


class Ranks(Alone):
    """One of several processes of an initialized `torch.distributed` group.

    All call the same methods of their student in the same order, with the same rollouts.
    """

    sharded = True

    def __init__(self, mesh: DeviceMesh) -> None:
        self.mesh, self.rank, self.size = mesh, mesh.get_rank(), mesh.size()

    def shard(self, model: Any, dtype: torch.dtype | None = None) -> None:
        """See `Alone.shard`. Gradients are summed in fp32."""
        policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
        for layer in loading.separate_layers(model):
            fully_shard(layer, mesh=self.mesh, mp_policy=policy)
        fully_shard(model, mesh=self.mesh, mp_policy=policy)
        for module in model.modules():
            if isinstance(module, FSDPModule):
                # Neither call reaches the modules within. Without both, gradients are averaged.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def states_of(self, model: Any) -> Callable[..., torch.Tensor]:
        """See `Alone.states_of`. The output head stays gathered until the backward pass ends."""
        model.hidden_states = MethodType(loading.hidden_states, model)
        register_fsdp_forward_method(model, "hidden_states")
        return model.hidden_states

    def budget(self, lengths: Sequence[int], tokens: int) -> int:
        """See `Alone.budget`; less than `tokens` if a rank would have no micro-batch otherwise."""
        return min(tokens, math.ceil(len(lengths) / self.size) * max(lengths, default=0))

    def share(self, groups: list[T]) -> Iterator[tuple[int, T, bool]]:
        """See `Alone.share`. All ranks pass as often: one without work repeats a micro-batch."""
        for first in range(0, len(groups), self.size):
            number = first + self.rank
            last = len(groups) - 1
            yield number, groups[min(number, last)], number <= last

    def gather(self, parts: list[MicroBatch]) -> list[MicroBatch]:
        """See `Alone.gather`."""
        of_ranks: list[Any] = [None] * self.size
        dist.all_gather_object(of_ranks, [_on_host(part) for part in parts])
        passes = max(map(len, of_ranks))
        return [each[at] for at in range(passes) for each in of_ranks if at < len(each)]

    def all(self, flag: bool) -> bool:
        """See `Alone.all`."""
        count = torch.tensor(int(flag))
        dist.all_reduce(count, dist.ReduceOp.MIN)
        return bool(count)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, gathered from all ranks if it is sharded; all ranks must call it."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_of(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor as `like` is held: this rank's shard, cut without communication, or all."""
    if not isinstance(like, DTensor):
        return whole
    mesh, placements = like.device_mesh, like.placements
    return distribute_tensor(whole.to(like.device), mesh, placements, src_data_rank=None)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's shard of the tensor, or all of it."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _on_host(part: MicroBatch) -> MicroBatch:
    """The micro-batch with all tensors in memory of the host."""

    def moved(value: Any) -> Any:
        return value.detach().cpu() if isinstance(value, torch.Tensor) else value

    figures = {each.name: moved(getattr(part.figures, each.name)) for each in fields(part.figures)}
    return replace(
        part, kept_R=part.kept_R.cpu(), usable_R=part.usable_R.cpu(),
        figures=replace(part.figures, **figures),
    )  # fmt: skip
