"""Processes for workers: launched, if wished, before it is known what they are to hold.

Imports are most of what a start takes. A process launched ahead (`prelaunch`) imports while
its parent does, and then waits for its orders. Nothing heavy is imported here.
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
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from esr_cli.base import process as proc

GONE = (EOFError, ConnectionError, BrokenPipeError)
# A process and our end of its pipe.
Launched = tuple[Any, Connection]

_ahead: dict[str, Launched] = {}


def prelaunch(name: str, *modules: str) -> None:
    """A process that imports the modules and waits, for the next worker called `name`."""
    if not _ahead:
        atexit.register(discard_prelaunched)
    _ahead[name] = _launch(name, modules)


def take_process(name: str) -> Launched:
    """The process launched ahead by that name if it lives, or a new one."""
    if name in _ahead:
        process, pipe = _ahead.pop(name)
        if process.is_alive():
            return process, pipe
        pipe.close()
    return _launch(name, ())


def discard_prelaunched() -> None:
    """Ends the processes that were launched ahead and not asked for."""
    while _ahead:
        process, pipe = _ahead.popitem()[1]
        pipe.close()
        process.kill()
        process.join()


def _launch(name: str, modules: tuple[str, ...]) -> Launched:
    context = multiprocessing.get_context("spawn")
    pipe, child_end = context.Pipe()
    process = context.Process(
        target=_serve, args=(child_end, os.getpid(), modules), name=f"esr-{name}"
    )
    with _ctrl_c_waits():
        process.start()
    # Ours must be the only other end, or the death of the child would go unnoticed.
    child_end.close()
    return process, pipe


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Main thread only: half a process started is worse than a Ctrl-C a moment late."""
    came: list[tuple[Any, ...]] = []
    before = signal.signal(signal.SIGINT, lambda *signalled: came.append(signalled))
    # The mask is for the child: it inherits it, and imports for seconds before it can ignore.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(*came[0])


def _serve(pipe: Connection, parent: int, modules: tuple[str, ...]) -> None:
    """The process: orders first (`build`, its settings, a log or none), then calls."""
    # One busy in a call would not notice for a long time that nobody waits for it any more.
    proc.end_with(parent)
    # Ctrl-C reaches the whole terminal, and SIGTERM often a whole process group; only the trainer
    # decides what they mean, and ends this process by closing the pipe.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # What teaches pipes to carry tensors in shared memory.
    importlib.import_module("torch.multiprocessing")
    with contextlib.suppress(*GONE):
        said = _import(modules)
        build, settings, log = pipe.recv()
        if log:
            # By descriptor, since libraries write past Python's own streams.
            with open(log, "ab") as file:
                _write_to(file.fileno(), file.fileno())
        if said:
            os.write(2, said)
        _answer(pipe, build, settings)


def _import(modules: tuple[str, ...]) -> bytes:
    """Imports them, and gives what they print, for which there is no place yet."""
    if not modules:
        return b""
    before = _copy(1), _copy(2)
    with tempfile.TemporaryFile() as file:
        _write_to(file.fileno(), file.fileno())
        for module in modules:
            # What is wrong with it is told by whoever needs it.
            with contextlib.suppress(Exception):
                importlib.import_module(module)
        _write_to(*before)
        for descriptor in before:
            os.close(descriptor)
        file.seek(0)
        return file.read()


def _copy(descriptor: int) -> int:
    try:
        return os.dup(descriptor)
    except OSError:  # closed by who started us
        return os.open(os.devnull, os.O_WRONLY)


def _write_to(out: int, error: int) -> None:
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os.dup2(out, 1)
    os.dup2(error, 2)


def _answer(pipe: Connection, build: Callable[..., Any], settings: dict[str, Any]) -> None:
    try:
        worker = build(**settings)
    except BaseException:
        pipe.send((False, traceback.format_exc()))
        return
    pipe.send((True, None))
    while True:
        try:
            message = pipe.recv()
        except GONE:
            raise
        except Exception:  # tensors on a device arrive as handles, which may fail to open
            pipe.send((False, traceback.format_exc()))
            continue
        if message is None:
            return
        method, arguments = message
        try:
            reply = (True, method_of(worker, method)(*arguments))
        except Exception:
            reply = (False, traceback.format_exc())
        pipe.send(reply)
        del message, arguments, reply


# What every worker answers: of the process that it lives in.
OF_PROCESS = {"peak_gib": proc.peak_gib, "reset_peak": proc.reset_peak}


def method_of(worker: Any, name: str) -> Callable[..., Any]:
    """What a call of that name means to a worker."""
    return OF_PROCESS.get(name) or getattr(worker, name)
