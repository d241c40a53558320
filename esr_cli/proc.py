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
OWN = Path("/proc/self")


def end_with(parent: int) -> None:
    """Called first in a process whose parent has the id `parent`: the kernel kills it when that
    one is gone, or rather when the thread that started it is.

    Where the kernel knows no such thing (it is Linux's), a process outlives a parent that was
    killed.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    # It may have gone before the kernel was asked.
    if os.getppid() != parent:
        os._exit(1)


def peak_gib() -> float:
    """Peak memory: on the device, or resident without one."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    with contextlib.suppress(OSError):
        known = re.search(r"VmHWM:\s+(\d+) kB", (OWN / "status").read_text())
        if known:
            return int(known[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def forget_peak() -> None:
    """Begins the peak anew from what is in use; on Linux only where there is no device."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):
            (OWN / "clear_refs").write_text(FORGET_PEAK)
