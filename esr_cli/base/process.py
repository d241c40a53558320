"""Operating-system settings of this process (parent death, malloc, OpenMP), memory and CPU time.

Also the state of other processes: children, CPU time, stopped or not (Linux only).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36
FORGET_PEAK = "5"
# Spins of an idle OpenMP thread before it sleeps. The default is 300,000.
SPINS = "10000"
# Parameters of glibc's mallopt (malloc.h), and the largest value that they take.
TRIM_THRESHOLD, MMAP_THRESHOLD, MAX_THRESHOLD = -1, -3, 2**31 - 1
# The limit of older versions of glibc for MMAP_THRESHOLD.
OLD_MAX_THRESHOLD = 2**25
# The exit status of a fork whose action ran out of memory.
OUT_OF_MEMORY = 3
PROC, PROC_SELF = Path("/proc"), Path("/proc/self")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def end_with(parent: int) -> None:
    """Has the kernel kill this process when the thread of `parent` that started it ends.

    Call it first in a process whose parent has the id `parent`. It works on Linux only: elsewhere
    a process outlives a parent that was killed.
    """
    libc = _libc()
    if libc is None:
        return
    libc.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    # The parent may have ended before the call to prctl.
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Has descendants whose parent dies become children of this process (Linux only)."""
    if (libc := _libc()) is not None:
        libc.prctl(SET_CHILD_SUBREAPER, 1)


def kill_descendants() -> None:
    """Kills all that this process has started, or adopted."""
    _kill(descendants(os.getpid()))


def keep_freed_memory() -> None:
    """Has glibc keep up to 2 GiB of freed memory for the next tensors.

    By default glibc returns large tensors to the system at once. Every operation on the CPU then
    maps new pages, which can take as long as the operation itself (docs/performance.md).
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if not mallopt or not mallopt(TRIM_THRESHOLD, MAX_THRESHOLD):
        return
    if not mallopt(MMAP_THRESHOLD, MAX_THRESHOLD):
        mallopt(MMAP_THRESHOLD, OLD_MAX_THRESHOLD)


def spin_briefly() -> None:
    """Shortens the spinning of idle OpenMP threads, in this process and those that it starts.

    Call it before torch is imported. A spinning thread holds a core that another thread could use,
    for several times the gap between two small products (docs/performance.md). Values that the
    user has set are kept.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def beyond(action: Callable[[], object], cpu_s: float, gib: float) -> str:
    """Tries an action in a fork of this process, before threads run: what it exceeds, or ``.

    What it raises is not reported. The limits are CPU time in seconds and memory in GiB.
    """
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, cpu_s)
            size = int((PROC_SELF / "statm").read_text().split()[0]) * resource.getpagesize()
            most = size + int(gib * 2**30)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            action()
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == OUT_OF_MEMORY:
        return f"more than {gib} GiB"
    return f"more than {cpu_s} s" if status == -signal.SIGPROF else ""


def synchronize() -> None:
    """Synchronizes all CUDA devices that this process uses; does nothing without any."""
    import torch

    for device in _devices():
        torch.cuda.synchronize(device)


def peak_gib() -> float:
    """Peak memory in GiB: allocated on the CUDA devices, or resident memory if none is used."""
    import torch

    if devices := _devices():
        return sum(map(torch.cuda.max_memory_allocated, devices)) / 2**30
    with contextlib.suppress(OSError):
        peak = re.search(r"VmHWM:\s+(\d+) kB", (PROC_SELF / "status").read_text())
        if peak:
            return int(peak[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def reset_peak() -> None:
    """Resets the peak to the memory now in use. Without a CUDA device, this works on Linux only.

    There it also returns the freed memory that glibc has kept, so the next step maps new pages.
    """
    import torch

    devices = _devices()
    for device in devices:
        torch.cuda.reset_peak_memory_stats(device)
    if not devices:
        malloc_trim = getattr(_libc(), "malloc_trim", None)
        if malloc_trim:
            malloc_trim(0)
        with contextlib.suppress(OSError):
            (PROC_SELF / "clear_refs").write_text(FORGET_PEAK)


def descendants(pid: int) -> list[int]:
    """The ids of the process's children, their children and so on; empty elsewhere than Linux."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # the process has ended
        for thread in os.listdir(PROC / str(pid) / "task"):
            with contextlib.suppress(OSError):  # the thread has ended
                found += map(
                    int, (PROC / str(pid) / "task" / thread / "children").read_text().split()
                )
    return found + [each for child in found for each in descendants(child)]


def is_stopped(pid: int) -> bool:
    """Whether the process is stopped, by SIGSTOP or a debugger; False elsewhere than Linux."""
    return _stat(pid)[:1] in (["T"], ["t"])


def cpu_ticks(pid: int) -> int:
    """The CPU time of the process in clock ticks; 0 elsewhere than Linux."""
    return sum(map(int, _stat(pid)[11:13]))


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and all its descendants, user and system; 0.0 if it has ended.

    Includes descendants that have ended, unless their parent ignores SIGCHLD. Linux only.
    """
    # utime, stime, cutime and cstime.
    ticks = (sum(map(int, _stat(each)[11:15])) for each in [pid, *descendants(pid)])
    return sum(ticks) / TICKS_PER_S


def kill_tree(pid: int) -> None:
    """Kills a process that this one started, and its descendants, which may outlive it."""
    _kill([pid, *descendants(pid)])


def _kill(pids: list[int]) -> None:
    for each in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command, from the state on (see proc(5))."""
    with contextlib.suppress(OSError):
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
        return text.rpartition(")")[2].split()
    return []


def _devices() -> list[int]:
    """Devices with memory of this process. A query to any other would allocate a context there."""
    import torch

    if not torch.cuda.is_initialized():
        return []
    return [each for each in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(each)]


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform.startswith("linux") else None
