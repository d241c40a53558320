"""Failures in one line: what was raised, where, and which file holds the traceback."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from esr_cli.base import writing

PACKAGE = Path(__file__).parent.parent
# A longer line fills the terminal; of a longer message the beginning and the end are shown.
MOST_CHARS = 1200
REPORT = "to report it, send that file and the command (CONTRIBUTING.md)"
SPACE, ACCESS = "free some space", "check that its folder can be written"
ADVICE = {
    errno.ENOSPC: SPACE, errno.EDQUOT: SPACE, errno.EFBIG: SPACE, errno.EACCES: ACCESS,
    errno.EPERM: ACCESS, errno.EROFS: ACCESS, errno.EMFILE: "raise the limit of open files",
    errno.ENOMEM: "it needs more memory than there is", errno.EIO: "check the disk",
}  # fmt: skip
# The log of the run that this process works on, if any: it takes the tracebacks.
_logs: list[Path] = []


class Failure(RuntimeError):
    """A failure at run time that is no fault of the program; the message says what to do."""


class Resumable(Failure):
    """A run that failed: the cause says why, the message how to resume."""


class Remote(Exception):
    """The traceback of another process as text; the cause of the exception raised here."""

    def __str__(self) -> str:
        return f"in another process\n\n{self.args[0]}"


def log_to(log: Path | None) -> None:
    """Has tracebacks written to this log from now on; None: to a file of their own."""
    _logs[:] = [log] if log else []


def one_line(text: str) -> str:
    """The text in one printable line: line breaks and control characters are escaped."""
    text = "".join(each if each.isprintable() else _escaped(each) for each in text.strip())
    half = MOST_CHARS // 2
    return text if len(text) <= MOST_CHARS else f"{text[:half]} … {text[-half:]}"


def brief(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none; 200 characters at most."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return one_line(lines[0] if lines else type(error).__name__)[:200]


def summary(error: BaseException) -> str:
    """`ValueError: odd (esr_cli/rollout/eager.py:33)`; a `Failure` by its message alone."""
    if isinstance(error, Failure):
        return one_line(" ".join(str(error).split("\n")))
    name, lines = type(error).__name__, [line for line in _text(error).splitlines() if line.strip()]
    where = f" ({place})" if (place := _place(error)) else ""
    return one_line(f"{name}: {lines[0].strip()}" if lines else name) + where


def explain(error: BaseException) -> str:
    """What to print for a failure at run time: one line, and one on how to resume if there is one.

    The traceback is written to a file, which the line names, unless a `Failure` explains itself.
    """
    if isinstance(error, Resumable) and error.__cause__:
        return f"{explain(error.__cause__)}\n{one_line(str(error))}"
    if isinstance(error, Failure) and not isinstance(error.__cause__, Remote):
        return summary(error)
    log = record(error)
    saved = f"the traceback is in {log}" if log else "ESR_TRACEBACK=1 shows the traceback"
    return f"{summary(error)}; {saved}; {_advice(error) or REPORT}"


def record(error: BaseException) -> Path | None:
    """Appends the full traceback to the run's log, else to a new file; None if none can be."""
    text = "".join(traceback.format_exception(error))
    for path in _places():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with writing.open_file(path, os.O_APPEND) as file:
                entry = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv)}\n{text}\n"
                file.write(entry.encode(errors="backslashreplace"))
            return path
        except OSError:
            continue
    return None


def _frames(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    """The file and the line of each frame, from the outermost to the innermost."""
    while trace:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def _places() -> Iterator[Path]:
    yield from (log for log in _logs if log.parent.is_dir())
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    yield Path(cache) / "esr" / "failures" / name
    yield Path(tempfile.gettempdir()) / f"esr-{name}"


def _place(error: BaseException) -> str:
    """The innermost line of this package in the traceback, else its innermost line."""
    frames = list(_frames(error.__traceback__))
    ours = [(name, line) for name, line in frames if Path(name).is_relative_to(PACKAGE)]
    if ours:
        name, line = ours[-1]
        return f"{Path(name).relative_to(PACKAGE.parent)}:{line}"
    return f"{frames[-1][0]}:{frames[-1][1]}" if frames else ""


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # of a class that is not ours
        return f"no message ({type(broken).__name__})"


def _advice(error: BaseException) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "it needs more memory than there is: esr check estimates what a run needs"
    return ADVICE.get(error.errno or 0, "") if isinstance(error, OSError) else ""


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
