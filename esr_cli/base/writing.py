"""Opens files for writing in folders that strangers may have filled; see `reading`."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO


def open_file(path: Path, flags: int) -> IO[bytes]:
    """Opens a file for reading and writing, and makes it if it is absent.

    A run folder may come from a stranger: OSError is raised for a link, which could lead to any
    file of the user's, and for what is no regular file, which could wait forever.
    """
    safe = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, os.O_RDWR | safe | flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return os.fdopen(descriptor, "ab+" if flags & os.O_APPEND else "rb+")


@contextmanager
def waited_lock(path: Path) -> Iterator[None]:
    """Holds the lock of a file, which is made if it is absent; says so if it has to wait.

    The lock ends with the process. Some network file systems have no locks: nothing is held there.
    """
    with ExitStack() as held:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = held.enter_context(open_file(path, 0))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"waiting for another command that holds {path}", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
