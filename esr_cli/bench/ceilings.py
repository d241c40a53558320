"""The two ceilings of a machine: how fast it moves memory, and how fast it multiplies matrices."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

# Larger than any cache, and matrices large enough to keep every unit busy.
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**31}
WIDTH = {"cpu": 2048, "cuda": 8192}
TRIES = 7


@dataclass(frozen=True)
class Ceilings:
    """Bytes read or written a second, and floating-point operations a second in `dtype`."""

    bytes_per_s: float
    flops_per_s: float
    dtype: str

    def seconds(self, moved_bytes: float, flops: float) -> float:
        """The least time for both, which overlap at best."""
        return max(moved_bytes / self.bytes_per_s, flops / self.flops_per_s)


def measure(device: str, dtype: str) -> Ceilings:
    """The best of a few tries of each, on the device and with the threads of this process."""
    kind = "cuda" if device.startswith("cuda") else "cpu"
    moved, operations = 2 * COPIED_BYTES[kind], 2 * WIDTH[kind] ** 3
    return Ceilings(
        moved / _copying(COPIED_BYTES[kind], device),
        operations / _multiplying(WIDTH[kind], device, dtype), dtype,
    )  # fmt: skip


def _copying(size: int, device: str) -> float:
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return _best(lambda: target.copy_(source), device)


def _multiplying(width: int, device: str, dtype: str) -> float:
    # Of ones the product would be faster than of any weights: it switches less current.
    matrix = torch.randn(width, width, device=device, dtype=getattr(torch, dtype))
    return _best(lambda: matrix @ matrix, device)


def _best(work: Callable[[], object], device: str) -> float:
    found = []
    for _ in range(TRIES):
        began = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return min(found)
