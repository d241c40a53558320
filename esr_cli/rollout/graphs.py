"""A decoded token as one CUDA graph: launched at once, where a pass of small kernels is launched
one by one and the GPU waits for the processor."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import torch

# Why graphs cannot be captured in this process, once one could not.
faults: list[str] = []


class Graph:
    """`step(ids_B)` again and again, always in the same shapes: the first time as it is, so that
    every kernel is loaded, and from the second on as it was captured, or as it is where it
    cannot be.

    `step` neither asks the device nor draws. What it returns is overwritten by the next call.
    """

    def __init__(self, step: Callable[[torch.Tensor], torch.Tensor]) -> None:
        # It owns tensors that the graph reads, by their addresses.
        self._step = step
        self._ids_B: Any = None
        self._graph: Any = None

    def __call__(self, ids_B: torch.Tensor) -> torch.Tensor:
        """The step for these ids."""
        if self._ids_B is None:
            self._ids_B = ids_B.clone()
            return self._step(ids_B)
        if self._graph is None and ids_B.is_cuda and not faults:
            try:
                self._capture(ids_B.device)
            except RuntimeError as error:
                faults.append(str(error.__context__ or error))
                print(f"decoding without graphs, which is slower: {faults[0]}", flush=True)
        if self._graph is None:
            return self._step(ids_B)
        self._ids_B.copy_(ids_B)
        self._graph.replay()
        return self._found

    def _capture(self, device: torch.device) -> None:
        with torch.cuda.device(device):
            place = _place(device)
            graph, now = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
            place.stream.wait_stream(now)
            with torch.cuda.stream(place.stream):
                try:
                    graph.capture_begin(pool=place.pool, capture_error_mode="thread_local")
                    try:
                        self._found = self._step(self._ids_B)
                    finally:
                        graph.capture_end()
                except RuntimeError:
                    # Else what is allocated from now on would still be sought in the pool.
                    with suppress(RuntimeError):
                        torch._C._cuda_endAllocateToPool(device.index, place.pool)
                    raise
            now.wait_stream(place.stream)
        self._graph = graph


class _Place(NamedTuple):
    """Memory and stream of a device's captures, and what keeps the memory."""

    pool: Any
    stream: Any
    holder: Any
    zero: torch.Tensor


@cache
def _place(device: torch.device) -> _Place:
    """A pool that no graph is left of cannot be captured into again: one graph always stays."""
    pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)
    with torch.inference_mode(False):
        zero, holder = torch.zeros(1, device=device), torch.cuda.CUDAGraph()
        with torch.cuda.graph(holder, pool, stream, capture_error_mode="thread_local"):
            zero.zero_()
    return _Place(pool, stream, holder, zero)
