"""Workers: plain classes with plain methods, placed inline or in a process of their own.

`place` wraps the class it is given and knows no roles. In a process, arguments and results pass
through a pipe with tensors in shared memory; what the worker raises comes back with its traceback;
a worker that died is made again, its remembered calls are repeated, and so is the call it died in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import torch.multiprocessing as multiprocessing

from esr_cli import proc

GONE = (EOFError, ConnectionError, BrokenPipeError)


class WorkerError(RuntimeError):
    """A worker raised, could not start, or died more often than allowed."""


class InlineWorker:
    """The worker in this very process, behind the same calls as `ProcessWorker`."""

    def __init__(self, name: str, build: Callable[..., Any], settings: dict[str, Any]) -> None:
        self.name = name
        self._worker: Any = None
        self._build, self._settings = build, settings

    def start(self) -> None:
        """Nothing to launch ahead of time."""

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls the method, making the worker first where needed."""
        if self._worker is None:
            self._worker = self._build(**self._settings)
        return _method(self._worker, method)(*arguments)

    def close(self) -> None:
        """Lets the worker go."""
        self._worker = None


class ProcessWorker:
    """The worker in a spawned process; `remember` names methods whose last call is repeated
    after a restart, so that a new worker knows what the old one was told.

    What the process prints goes to the file `log` where one is named.
    """

    def __init__(
        self,
        name: str,
        build: Callable[..., Any],
        settings: dict[str, Any],
        restarts: int = 0,
        remember: tuple[str, ...] = (),
        on_restart: Callable[[str], None] = print,
        log: str | None = None,
    ) -> None:
        self.name, self._log = name, log
        self._build, self._settings = build, settings
        self._restarts_left, self._remember, self._on_restart = restarts, remember, on_restart
        self._last_calls: dict[str, tuple[Any, ...]] = {}
        self._process: Any = None
        self._pipe: Any = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """The process id while the worker lives."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Launches the process without waiting, so that several start side by side."""
        context = multiprocessing.get_context("spawn")
        self._pipe, child_end = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(child_end, self._build, self._settings, self._log, os.getpid()),
            name=f"esr-{self.name}",
        )
        with _ctrl_c_waits():
            self._process.start()
        # Ours must be the only other end, or the death of the child would go unnoticed.
        child_end.close()
        self._ready = False

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls the method there; restarts a dead worker and repeats, up to the limit."""
        while True:
            try:
                self._wait_ready()
                result = self._ask(method, arguments)
            except GONE:
                self._start_again()
                continue
            if method in self._remember:
                self._last_calls[method] = arguments
            return result

    def close(self) -> None:
        """Ends the process; waits ten seconds before it insists."""
        if self._process is None:
            return
        with contextlib.suppress(*GONE, OSError):
            self._pipe.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()
        self._process = None

    def _wait_ready(self) -> None:
        if self._process is None:
            self.start()
        if self._ready:
            return
        self._receive("start")
        self._ready = True
        for method, arguments in self._last_calls.items():
            self._ask(method, arguments)

    def _ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        self._pipe.send((method, arguments))
        return self._receive(method)

    def _receive(self, doing: str) -> Any:
        well, value = self._pipe.recv()
        if not well:
            raise WorkerError(f"the {self.name} failed in {doing}:\n{value}")
        return value

    def _start_again(self) -> None:
        self._process.join(5)
        died = f"the {self.name}'s process died (exit status {self._process.exitcode})"
        where = f"; its last words are in {self._log}" if self._log else ""
        if self._restarts_left == 0:
            raise WorkerError(died + where)
        self._restarts_left -= 1
        self._on_restart(f"{died}; made again{where}")
        self._pipe.close()
        self.start()


Worker = InlineWorker | ProcessWorker
# What every worker answers: of the process that it lives in.
OF_PROCESS = {"peak_gib": proc.peak_gib, "forget_peak": proc.forget_peak}


def place(where: str, name: str, build: Callable[..., Any], settings: dict[str, Any],
          **process_options: Any) -> Worker:  # fmt: skip
    """A worker made by `build(**settings)`, `inline` or in a `process`."""
    if where == "inline":
        return InlineWorker(name, build, settings)
    return ProcessWorker(name, build, settings, **process_options)


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


def _method(worker: Any, name: str) -> Callable[..., Any]:
    return OF_PROCESS.get(name) or getattr(worker, name)


def _serve(
    pipe: Connection, build: Callable[..., Any], settings: dict[str, Any], log: str | None,
    parent: int,
) -> None:  # fmt: skip
    # One busy in a call would not notice for a long time that nobody waits for it any more.
    proc.end_with(parent)
    # Ctrl-C reaches the whole terminal, and SIGTERM often a whole process group; only the trainer
    # decides what they mean, and ends this process by closing the pipe.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if log:
        # By descriptor, since libraries write past Python's own streams.
        with open(log, "a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    try:
        worker = build(**settings)
    except BaseException:
        pipe.send((False, traceback.format_exc()))
        return
    pipe.send((True, None))
    with contextlib.suppress(*GONE):
        while (message := pipe.recv()) is not None:
            method, arguments = message
            try:
                reply = (True, _method(worker, method)(*arguments))
            except Exception:
                reply = (False, traceback.format_exc())
            pipe.send(reply)
            del message, arguments, reply
