"""Opens files for writing in folders that strangers may have filled; see `reading`."""

from __future__ import annotations

import errno
import os
import stat
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
