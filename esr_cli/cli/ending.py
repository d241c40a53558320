"""How `esr` ends: with a line and an exit status, never with a bare traceback."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from esr_cli.base import failures

INTERRUPTED = 130


def guard(command: Callable[[], None]) -> None:
    """Runs the command; exits with 2 and a line for an error of the user's, with 1 and the place
    of the traceback for any other, with 130 after Ctrl-C.

    With ESR_TRACEBACK=1 the terminal shows the traceback as well.
    """
    _prepare()
    try:
        try:
            command()
        finally:
            _flush()
    except SystemExit:
        raise
    except BaseException as error:
        status = _report(error)
    else:
        return
    finally:
        # From here on Ctrl-C ends the process silently.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
    raise SystemExit(status)


def _prepare() -> None:
    failures.log_to(None)  # an earlier command in this process may have had a run
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A terminal or a locale may lack a character.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if os.environ.get("ESR_TRACEBACK"):
        return
    sys.excepthook = lambda kind, error, trace: _print(error)
    threading.excepthook = lambda caught: _note(caught.exc_value, "a thread failed")
    sys.unraisablehook = lambda caught: _note(caught.exc_value, "ignored")
    # The log records of libraries may hold tracebacks, and so do the errors of logging itself.
    logging.raiseExceptions = False
    logging.Formatter.formatException = _formatted  # type: ignore[method-assign,assignment]


def _open_closed_streams() -> None:
    """Opens /dev/null for each closed stream: a file would get its number, and our output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def _flush() -> None:
    """Writes the last output, so that a closed pipe or a full disk is an error here."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard(sys.stdout)
        raise


def _discard(stream: Any) -> None:
    """Sends the rest of a stream, which cannot be written, to /dev/null."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _report(error: BaseException) -> int:
    """Prints the line of an error; returns the exit status."""
    if isinstance(error, BrokenPipeError):
        # Imported late, as it takes a while.
        from esr_cli.base import terminal

        if terminal.is_closed():
            # The reader has left (`esr check | head`).
            _discard(sys.stdout)
            return 1
    if os.environ.get("ESR_TRACEBACK"):
        traceback.print_exception(error)
    return _print(error)


def _print(error: BaseException) -> int:
    try:
        if isinstance(error, KeyboardInterrupt):
            return _say(failures.one_line(str(error)) or "interrupted", INTERRUPTED)
        from esr_cli.config.errors import ConfigError

        if isinstance(error, ConfigError):
            return _say(failures.one_line(str(error)), 2)
        return _say(failures.explain(error), 1)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)


def _say(message: str, status: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        print(f"esr: {message}", file=sys.stderr, flush=True)
    return status


def _note(error: BaseException | None, what: str) -> None:
    """A line for an exception that ends nothing: of a thread, or of an object's end."""
    if error is None or isinstance(error, KeyboardInterrupt | SystemExit):
        return
    if isinstance(error, BrokenPipeError):
        return
    # The interpreter may be half gone.
    with contextlib.suppress(Exception):
        _say(f"warning: {what}: {failures.explain(error)}", 0)


def _formatted(_: logging.Formatter, caught: Any) -> str:
    """The exception of a log record in one line; its traceback goes to the file."""
    return failures.explain(caught[1]) if caught[1] else ""
