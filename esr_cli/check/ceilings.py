"""The two ceilings of a machine: its memory bandwidth and its matrix-multiplication rate."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from esr_cli.check.floors import Ceilings

# The copy exceeds any cache; the matrices are large enough to keep every unit busy.
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**31}
WIDTH = {"cpu": 2048, "cuda": 8192}
TRIES = 7


def measure(device: str, dtype: str) -> Ceilings:
    """Measures both on `device`, with the threads of this process; the best of several tries."""
    kind = "cuda" if device.startswith("cuda") else "cpu"
    moved, flops = 2 * COPIED_BYTES[kind], 2 * WIDTH[kind] ** 3
    return Ceilings(
        moved / _time_copy(COPIED_BYTES[kind], device),
        flops / _time_matmul(WIDTH[kind], device, dtype), dtype,
    )  # fmt: skip


def _time_copy(size: int, device: str) -> float:
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return _best_time(lambda: target.copy_(source), device)


def _time_matmul(width: int, device: str, dtype: str) -> float:
    # A matrix of ones would draw less power, and so multiply faster, than real weights.
    matrix = torch.randn(width, width, device=device, dtype=getattr(torch, dtype))
    return _best_time(lambda: matrix @ matrix, device)


def _best_time(operation: Callable[[], object], device: str) -> float:
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        operation()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
