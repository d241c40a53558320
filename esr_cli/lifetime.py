"""Processes that end with the one that started them, whatever ended that one."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

SET_PARENT_DEATH_SIGNAL = 1


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
