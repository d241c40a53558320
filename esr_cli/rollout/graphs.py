"""A decoded token as one CUDA graph: launched at once, where a pass of small kernels is launched
one by one and the GPU waits for the processor."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch


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
        self._captures = True

    def __call__(self, ids_B: torch.Tensor) -> torch.Tensor:
        """The step for these ids."""
        if self._ids_B is None:
            self._ids_B = ids_B.clone()
            return self._step(ids_B)
        if self._graph is None and self._captures:
            try:
                self._capture()
            except RuntimeError as error:
                self._captures = False
                print(f"decoding without a graph, which is slower: {error}", flush=True)
        if self._graph is None:
            return self._step(ids_B)
        self._ids_B.copy_(ids_B)
        self._graph.replay()
        return self._found

    def _capture(self) -> None:
        pool, beside = _place()
        graph, now = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        beside.wait_stream(now)
        with torch.cuda.stream(beside):
            graph.capture_begin(pool=pool.id, capture_error_mode="thread_local")
            try:
                self._found = self._step(self._ids_B)
            finally:
                graph.capture_end()
        now.wait_stream(beside)
        self._graph = graph


@cache
def _place() -> tuple[Any, Any]:
    """Memory and stream of all captures. The pool is held, since one that no graph is left of
    cannot be captured into again."""
    return torch.cuda.MemPool(), torch.cuda.Stream()
