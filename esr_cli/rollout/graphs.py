"""A decoded token as one CUDA graph: launched at once, where a pass of small kernels is launched
one by one and the GPU waits for the processor."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch


class Graph:
    """`step(ids_B)` as it is launched again and again: the same addresses, lengths and kernels.

    `step` has run before in the same shapes, so that every kernel is loaded; it neither asks the
    device nor draws. What it returns is overwritten by the next call.
    """

    def __init__(self, step: Callable[[torch.Tensor], torch.Tensor], ids_B: torch.Tensor) -> None:
        # It owns tensors that the graph reads, by their addresses.
        self._step = step
        self._ids_B, self._graph = ids_B.clone(), torch.cuda.CUDAGraph()
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            self._graph.capture_begin(pool=_pool(), capture_error_mode="thread_local")
            self._found = step(self._ids_B)
            self._graph.capture_end()
        torch.cuda.current_stream().wait_stream(beside)

    def __call__(self, ids_B: torch.Tensor) -> torch.Tensor:
        """The step for these ids."""
        self._ids_B.copy_(ids_B)
        self._graph.replay()
        return self._found


@cache
def _pool() -> Any:
    """One for all: a batch captures into the memory of the one before it."""
    return torch.cuda.graph_pool_handle()
