"""Where a worker computes: the GPUs and the threads that are its own."""

from __future__ import annotations

import os
from dataclasses import dataclass

from esr_cli.base import process

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Seat:
    """The share of a machine that a worker takes.

    `gpus` are the only GPUs that a process of its own sees, by their numbers among those that this
    process sees; empty: all. `device` is the one for a worker that sees all. `threads` computes on
    a CPU; 0: the default of torch. On Ray, `cpus` and `gpu_count` are taken at `address`, of the
    reserved `bundle` if there is one.
    """

    device: str = "auto"
    gpus: tuple[int, ...] = ()
    threads: int = 0
    address: str = ""
    cpus: float = 0.0
    gpu_count: int = 0
    bundle: int = -1

    def take(self) -> None:
        """Called in the worker's process, before it uses a GPU."""
        process.keep_freed_memory()
        if self.gpus:
            seen = [each for each in os.environ.get(VISIBLE, "").split(",") if each]
            named = [seen[number] if seen else str(number) for number in self.gpus]
            os.environ[VISIBLE] = ",".join(named)
        if self.threads:
            import torch

            torch.set_num_threads(self.threads)
