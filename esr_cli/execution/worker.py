"""Workers: plain classes with plain methods, run inline or in a separate process.

`place` wraps any class. In a process, arguments and results pass through a pipe, with tensors in
shared memory. An exception in the worker is raised here with its traceback. A worker that died is
restarted; its remembered calls and the call in which it died are repeated.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

# Registers the reducers that pass tensors through pipes in shared memory.
import torch.multiprocessing  # noqa: F401

from esr_cli.base.failures import Failure, Remote
from esr_cli.execution.processes import GONE, method_of, take_process

# A method and its arguments.
Call = tuple[str, tuple[Any, ...]]


class WorkerError(Failure):
    """A worker raised, could not start, or died more often than allowed."""


class InlineWorker:
    """A worker in this process, with the interface of `ProcessWorker`."""

    def __init__(self, name: str, build: Callable[..., Any], settings: dict[str, Any]) -> None:
        self.name = name
        self._worker: Any = None
        self._build, self._settings = build, settings
        self._pending: Call | None = None

    def start(self) -> None:
        """Does nothing: there is no process to launch."""

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls the method; builds the worker first if needed."""
        self.begin(method, *arguments)
        return self.finish()

    def begin(self, method: str, *arguments: Any) -> None:
        """Records the call, which `finish` runs."""
        assert self._pending is None, f"{self._pending} is not finished"
        self._pending = method, arguments

    def finish(self) -> Any:
        """Runs the call that `begin` recorded and returns its result."""
        assert self._pending is not None, "no call was begun"
        (method, arguments), self._pending = self._pending, None
        if self._worker is None:
            self._worker = self._build(**self._settings)
        return method_of(self._worker, method)(*arguments)

    def close(self) -> None:
        """Releases the worker."""
        self._worker = None


class ProcessWorker:
    """A worker in a spawned process.

    `remember` names methods whose last call is repeated after a restart, which restores the
    worker's state. `restarts` limits restarts. The process's output goes to the file `log`, if any.
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
        self.name, self.log = name, log
        self._build, self._settings = build, settings
        self._restarts_left, self._remember, self._on_restart = restarts, remember, on_restart
        self._last_calls: dict[str, tuple[Any, ...]] = {}
        self._pending: Call | None = None
        self._process: Any = None
        self._pipe: Any = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """The process id, or None if there is no process."""
        return self._process.pid if self._process is not None else None

    @property
    def ready(self) -> bool:
        """Whether the worker is built, so that a call does not wait for it."""
        return self._ready

    def start(self) -> None:
        """Launches the process without waiting, so that several can start in parallel."""
        self._process, self._pipe = take_process(self.name)
        self._ready = False
        # The settings may exceed the pipe's buffer, and the process reads them after its imports.
        startup = ForkingPickler.dumps((self._build, self._settings, self.log))
        self._sender = threading.Thread(target=_send, args=(self._pipe, startup), daemon=True)
        self._sender.start()

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls the method; restarts a dead worker and repeats the call, up to the limit."""
        self.begin(method, *arguments)
        return self.finish()

    def begin(self, method: str, *arguments: Any) -> None:
        """Sends the call without waiting. No other call is allowed before `finish`."""
        assert self._pending is None, f"{self._pending} is not finished"
        self._send_call((method, arguments))
        self._pending = method, arguments

    def finish(self) -> Any:
        """Waits for the result of the call; restarts the worker and repeats the call if it died."""
        assert self._pending is not None, "no call was begun"
        method, arguments = self._pending
        try:
            while True:
                try:
                    result = self._receive(method)
                    break
                except GONE:
                    self._restart()
                    self._send_call(self._pending)
        finally:
            self._pending = None
        if method in self._remember:
            self._last_calls[method] = arguments
        return result

    def close(self) -> None:
        """Ends the process: kills it if it is busy, else gives it ten seconds to exit."""
        if self._process is None:
            return
        if self._pending is None and self._ready:
            with contextlib.suppress(*GONE, OSError):
                self._pipe.send(None)
            self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()
        self._process, self._ready = None, False

    def _wait_ready(self) -> None:
        if self._process is None:
            self.start()
        if self._ready:
            return
        self._sender.join()
        self._receive("start")
        self._ready = True
        for method, arguments in self._last_calls.items():
            self._call_now(method, arguments)

    def _send_call(self, call: Call) -> None:
        with contextlib.suppress(*GONE):  # `finish` detects the death and sends the call again
            self._wait_ready()
            self._pipe.send(call)

    def _call_now(self, method: str, arguments: tuple[Any, ...]) -> Any:
        self._pipe.send((method, arguments))
        return self._receive(method)

    def _receive(self, method: str) -> Any:
        succeeded, value = self._pipe.recv()
        if not succeeded:
            line, traceback = value
            raise WorkerError(f"the {self.name} failed in {method}: {line}") from Remote(traceback)
        return value

    def _restart(self) -> None:
        self._process.join(5)
        died = f"the {self.name}'s process died (exit status {self._process.exitcode})"
        where = f"; its last output is in {self.log}" if self.log else ""
        if self._restarts_left == 0:
            raise WorkerError(died + where)
        self._restarts_left -= 1
        self._on_restart(f"{died}; restarted{where}")
        self._pipe.close()
        self.start()


Worker = InlineWorker | ProcessWorker


def _send(pipe: Any, orders: Any) -> None:
    with contextlib.suppress(*GONE, OSError):  # `finish` detects the death of the process
        pipe.send_bytes(orders)


def place(where: str, name: str, build: Callable[..., Any], settings: dict[str, Any],
          **process_options: Any) -> Worker:  # fmt: skip
    """A worker built by `build(**settings)`; `where` is `inline` or `process`."""
    if where == "inline":
        return InlineWorker(name, build, settings)
    return ProcessWorker(name, build, settings, **process_options)
