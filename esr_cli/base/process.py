"""This process as the operating system sees it: with whom it ends, and its peak of memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import signal
import sys
from pathlib import Path

SET_PARENT_DEATH_SIGNAL = 1
FORGET_PEAK = "5"
# How often a thread of torch's on a CPU looks for work before it sleeps; by itself 300,000 times.
SPINS = "10000"
# What of glibc's malloc can be set (malloc.h), and the most that it takes.
TRIM_THRESHOLD, MMAP_THRESHOLD, MOST = -1, -3, 2**31 - 1
OLD_MOST = 2**25
OWN = Path("/proc/self")


def end_with(parent: int) -> None:
    """Called first in a process whose parent has the id `parent`: the kernel kills it when that
    one is gone, or rather when the thread that started it is.

    Where the kernel knows no such thing (it is Linux's), a process outlives a parent that was
    killed.
    """
    libc = _libc()
    if libc is None:
        return
    libc.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    # It may have gone before the kernel was asked.
    if os.getppid() != parent:
        os._exit(1)


def keep_freed_memory() -> None:
    """Has glibc keep what is freed for the next tensor, up to 2 GiB.

    Otherwise it gives large tensors back to the system at once, and every operation on the CPU
    pays for fresh pages, which can take as long as the operation (docs/performance.md).
    """
    tell = getattr(_libc(), "mallopt", None)
    if tell and tell(TRIM_THRESHOLD, MOST) and not tell(MMAP_THRESHOLD, MOST):
        tell(MMAP_THRESHOLD, OLD_MOST)


def spin_briefly() -> None:
    """Called before torch is imported, for this process and those that it starts.

    Threads that wait keep a core from whoever has work, and several times as long as it takes to
    find the next small product (docs/performance.md). What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def synchronize() -> None:
    """Waits for the devices, where there are: their work is only under way when a call returns."""
    import torch

    for device in _devices():
        torch.cuda.synchronize(device)


def peak_gib() -> float:
    """Peak memory: on the devices, or resident without any."""
    import torch

    if devices := _devices():
        return sum(map(torch.cuda.max_memory_allocated, devices)) / 2**30
    with contextlib.suppress(OSError):
        known = re.search(r"VmHWM:\s+(\d+) kB", (OWN / "status").read_text())
        if known:
            return int(known[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def reset_peak() -> None:
    """Begins the peak anew from what is in use; on Linux only where there are no devices.

    What was kept of freed memory is given back, and the next step pays for it.
    """
    import torch

    devices = _devices()
    for device in devices:
        torch.cuda.reset_peak_memory_stats(device)
    if not devices:
        give_back = getattr(_libc(), "malloc_trim", None)
        if give_back:
            give_back(0)
        with contextlib.suppress(OSError):
            (OWN / "clear_refs").write_text(FORGET_PEAK)


def _devices() -> list[int]:
    """Those that this process holds memory of; asking another would take some of it."""
    import torch

    if not torch.cuda.is_initialized():
        return []
    return [each for each in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(each)]


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform.startswith("linux") else None
