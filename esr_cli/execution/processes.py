"""Worker processes, which can be launched before the settings of their worker are known.

Imports take most of the startup time. A prelaunched process (`prelaunch`) imports modules while
its parent does, and then waits for its worker's settings. This module imports nothing heavy.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from esr_cli.base import companions, failures, notes, writing
from esr_cli.base import process as proc

GONE = (EOFError, ConnectionError, BrokenPipeError)
# Seconds between two beats of a process.
BEAT_S = 1.0


class Launched(NamedTuple):
    """A process, the parent's end of its pipe, and the counter of its beats in shared memory."""

    process: Any
    pipe: Connection
    beats: Any


_prelaunched: dict[str, Launched] = {}


def prelaunch(name: str, *modules: str) -> None:
    """Launches a process that imports the modules and waits for the next worker called `name`."""
    if not _prelaunched:
        atexit.register(discard_prelaunched)
    _prelaunched[name] = _launch(name, modules)


def take_process(name: str) -> Launched:
    """The prelaunched process of that name if it is alive, else a new one."""
    if name in _prelaunched:
        launched = _prelaunched.pop(name)
        if launched.process.is_alive():
            return launched
        launched.pipe.close()
    return _launch(name, ())


def discard_prelaunched() -> None:
    """Ends the prelaunched processes that no worker has taken."""
    while _prelaunched:
        process, pipe, _ = _prelaunched.popitem()[1]
        pipe.close()
        process.kill()
        process.join()


def _launch(name: str, modules: tuple[str, ...]) -> Launched:
    context = multiprocessing.get_context("spawn")
    pipe, child_end = context.Pipe()
    beats = context.RawValue("Q", 0)
    process = context.Process(
        target=_serve, args=(child_end, beats, os.getpid(), modules), name=f"esr-{name}"
    )
    with _delay_ctrl_c(), _without_main():
        process.start()
    # If the parent kept this end open, it would not notice the death of the child.
    child_end.close()
    return Launched(process, pipe, beats)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hides the main module, which multiprocessing has a child import again.

    A worker needs nothing of it, and it may be a user's script that would train once more.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _delay_ctrl_c() -> Iterator[None]:
    """Delays Ctrl-C until a process has fully started. Main thread only."""
    received: list[tuple[Any, ...]] = []
    before = signal.signal(signal.SIGINT, lambda *arguments: received.append(arguments))
    # The child inherits the mask, which holds for the seconds of imports before it sets SIG_IGN.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
    if received and callable(before):
        before(*received[0])


def _serve(pipe: Connection, beats: Any, parent: int, modules: tuple[str, ...]) -> None:
    """The process's main: receives `(build, settings, log or None)`, then serves calls."""
    # A worker busy in a call would otherwise notice the death of its parent only much later.
    proc.end_with(parent)
    threading.Thread(target=_beat, args=(beats,), daemon=True).start()
    # Ctrl-C reaches the terminal's process group, and SIGTERM often does. Only the trainer handles
    # them, and it ends this process by closing the pipe.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    companions.hide()
    # Registers the reducers that pass tensors through pipes in shared memory.
    importlib.import_module("torch.multiprocessing")
    with contextlib.suppress(*GONE):
        try:
            output = _import(modules)
            build, settings, log = pipe.recv()
            if log:
                # By file descriptor, since C libraries bypass Python's streams.
                with writing.open_file(Path(log), os.O_APPEND) as file:
                    redirect(file.fileno(), file.fileno())
            if output:
                os.write(2, output)
            worker = build(**settings)
        except GONE:
            raise
        except BaseException as error:
            pipe.send((False, raised(error)))
            return
        try:
            _serve_calls(pipe, worker)
        finally:
            if close := getattr(worker, "close", None):
                close()


def _beat(beats: Any) -> None:
    """Counts in a thread of its own, so that a worker beats while it computes."""
    while True:
        beats.value += 1
        time.sleep(BEAT_S)


def _import(modules: tuple[str, ...]) -> bytes:
    """Imports the modules and returns what they print, since the log file is not known yet."""
    if not modules:
        return b""
    before = _duplicate(1), _duplicate(2)
    with tempfile.TemporaryFile() as file:
        redirect(file.fileno(), file.fileno())
        for module in modules:
            # An import error is raised again when the worker needs the module.
            with contextlib.suppress(Exception):
                importlib.import_module(module)
        redirect(*before)
        for descriptor in before:
            os.close(descriptor)
        file.seek(0)
        return file.read()


def _duplicate(descriptor: int) -> int:
    try:
        return os.dup(descriptor)
    except OSError:  # closed by the parent
        return os.open(os.devnull, os.O_WRONLY)


def redirect(out: int, error: int) -> None:
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os.dup2(out, 1)
    os.dup2(error, 2)


def _serve_calls(pipe: Connection, worker: Any) -> None:
    pipe.send((True, None))
    while True:
        try:
            message = pipe.recv()
        except GONE:
            raise
        except Exception as error:  # tensors on a device arrive as handles, which may fail to open
            pipe.send((False, raised(error)))
            continue
        if message is None:
            return
        method, arguments = message
        try:
            reply = (True, method_of(worker, method)(*arguments))
        except Exception as error:
            reply = (False, raised(error))
        pipe.send(reply)
        del message, arguments, reply


def raised(error: BaseException) -> tuple[str, str]:
    """What `Worker` raises: the exception in one line, and its traceback."""
    return failures.summary(error), "".join(traceback.format_exception(error))


# Methods of every worker, about the process that it runs in.
PROCESS_METHODS: dict[str, Callable[..., Any]] = {
    "peak_gib": proc.peak_gib, "reset_peak": proc.reset_peak, "take_notes": notes.take,
}  # fmt: skip


def method_of(worker: Any, name: str) -> Callable[..., Any]:
    """The function that a call of that name runs for a worker."""
    return PROCESS_METHODS.get(name) or getattr(worker, name)
