"""Memory of this machine, in total and free; within a container, of its limit (cgroup v2)."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

GIB = 2**30
CGROUP, MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")


def total_gib() -> float:
    """The machine's memory in GiB, or the container's limit if that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    limit = _limit_bytes(CGROUP)
    return total if limit is None else min(total, limit / GIB)


def free_gib() -> float:
    """GiB that processes can still get, as the kernel estimates it; file caches count as free."""
    free = total_gib()
    with contextlib.suppress(OSError):
        found = re.search(r"MemAvailable:\s+(\d+) kB", MEMINFO.read_text())
        free = int(found[1]) / 2**20 if found else free
    left = left_bytes(CGROUP)
    return free if left is None else min(free, left / GIB)


def left_bytes(folder: Path) -> int | None:
    """What a cgroup leaves of its limit; None without one. Inactive file caches are reclaimed."""
    limit = _limit_bytes(folder)
    if limit is None:
        return None
    try:
        used = int((folder / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (folder / "memory.stat").read_text(), re.M)
    except (OSError, ValueError):
        return limit
    return max(0, limit - used + (int(cached[1]) if cached else 0))


def _limit_bytes(folder: Path) -> int | None:
    try:
        return int((folder / "memory.max").read_text())
    except (OSError, ValueError):  # no cgroup of version 2, or its limit is `max`
        return None
