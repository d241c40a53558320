"""Decodes a token as one CUDA graph. Small kernels launched one by one leave the GPU waiting for
the CPU; a graph launches all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import torch

from esr_cli.base.notes import note

# The error of the first failed capture in this process. Afterwards no graph is captured.
faults: list[str] = []


class Graph:
    """Calls `step(ids_B)` repeatedly with fixed shapes, as a CUDA graph if it can be captured.

    The first call runs `step` eagerly, which loads all kernels; the second captures the graph.
    `step` must not synchronize or use random numbers. The next call overwrites its output.
    """

    def __init__(self, step: Callable[[torch.Tensor], torch.Tensor]) -> None:
        # `step` owns the tensors whose addresses the graph reads.
        self._step = step
        self._ids_B: Any = None
        self._graph: Any = None

    def __call__(self, ids_B: torch.Tensor) -> torch.Tensor:
        """The output of `step` for these ids."""
        if self._ids_B is None:
            self._ids_B = ids_B.clone()
            return self._step(ids_B)
        if self._graph is None and ids_B.is_cuda and not faults:
            try:
                self._capture(ids_B.device)
            except RuntimeError as error:
                faults.append(str(error.__context__ or error))
                note(f"the engine decodes without CUDA graphs, which is slower: {faults[0]}")
        if self._graph is None:
            return self._step(ids_B)
        self._ids_B.copy_(ids_B)
        self._graph.replay()
        return self._output

    def _capture(self, device: torch.device) -> None:
        with torch.cuda.device(device):
            target = _capture_pool(device)
            graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
            target.stream.wait_stream(current)
            with torch.cuda.stream(target.stream):
                try:
                    graph.capture_begin(pool=target.pool, capture_error_mode="thread_local")
                    try:
                        self._output = self._step(self._ids_B)
                    finally:
                        graph.capture_end()
                except RuntimeError:
                    # Else later allocations would still come from the pool of the graph.
                    with suppress(RuntimeError):
                        torch._C._cuda_endAllocateToPool(device.index, target.pool)
                    raise
            current.wait_stream(target.stream)
        self._graph = graph


class _CapturePool(NamedTuple):
    """Memory pool and stream for a device's captures, and the graph that keeps the pool alive."""

    pool: Any
    stream: Any
    holder: Any
    zero: torch.Tensor


@cache
def _capture_pool(device: torch.device) -> _CapturePool:
    """The device's pool, with one permanent graph: a pool without graphs cannot be reused."""
    pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)
    with torch.inference_mode(False):
        zero, holder = torch.zeros(1, device=device), torch.cuda.CUDAGraph()
        with torch.cuda.graph(holder, pool, stream, capture_error_mode="thread_local"):
            zero.zero_()
    return _CapturePool(pool, stream, holder, zero)
