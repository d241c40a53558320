"""Workers that may die: they are restarted, and what they had been told is repeated.

Where such a worker lives (`ProcessWorker`, `RayWorker`) decides how a message reaches it and how
its death shows; this class decides what follows from a death.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from esr_cli.base.failures import Failure, Remote
from esr_cli.execution.processes import GONE
from esr_cli.execution.watch import Patience

# A method and its arguments.
Call = tuple[str, tuple[Any, ...]]


class WorkerError(Failure):
    """A worker raised, could not start, or died more often than allowed."""


class DiedError(WorkerError):
    """A worker died more often than allowed, or in a call that cannot be repeated."""


class CalledWorker(ABC):
    """What every worker does alike, wherever it lives.

    `shares_memory` is whether a tensor that was passed to the worker stays shared with it, and
    `computes_meanwhile` whether a call runs while this process does something else.
    """

    shares_memory: bool
    computes_meanwhile = True

    @abstractmethod
    def begin(self, method: str, *arguments: Any) -> None:
        """Begins a call. No other call is allowed before `finish`."""

    @abstractmethod
    def finish(self, repeatable: bool = True) -> Any:
        """The result of the call that `begin` began."""

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls the method and waits for its result."""
        self.begin(method, *arguments)
        return self.finish()

    def take_wire_bytes(self) -> int:
        """The bytes of tensors that went over a wire since the last call: none in shared memory."""
        return 0

    def shared(self, value: Any) -> Any:
        """What to pass for a value that several workers get, so that it is sent once."""
        return value


class RestartingWorker(CalledWorker):
    """A worker elsewhere, built there by `build(**settings)`.

    `remember` names methods whose last call is repeated after a restart, which restores the
    worker's state. `restarts` limits restarts. The worker's output goes to the file `log`, if any.
    `warn` takes a line about a restart or a silent worker.
    """

    def __init__(
        self, name: str, build: Callable[..., Any], settings: dict[str, Any], restarts: int = 0,
        remember: tuple[str, ...] = (), warn: Callable[[str], None] = print,
        log: str | None = None, patience: Patience | None = None,
    ) -> None:  # fmt: skip
        self.name, self.log = name, log
        self._build, self._settings = build, settings
        self._restarts_left, self._remember, self._warn = restarts, remember, warn
        self._patience = patience or Patience()
        self._last_calls: dict[str, tuple[Any, ...]] = {}
        self._pending: Call | None = None
        self._ready = self._launched_once = False

    @abstractmethod
    def start(self) -> None:
        """Launches the worker without waiting, so that several can start in parallel."""

    @abstractmethod
    def close(self) -> None:
        """Ends the worker, even if it is busy."""

    @abstractmethod
    def kill(self) -> None:
        """Kills the worker if it is alive; a wait for it notices that it died."""

    @abstractmethod
    def _send(self, message: Any) -> None:
        """Sends the settings, or a call, without waiting; may raise one of `GONE`."""

    @abstractmethod
    def _wait(self, method: str, limit_s: float) -> tuple[bool, Any]:
        """The worker's answer, which kills it if it is silent or overdue; raises one of `GONE`.

        An answer is whether the call succeeded, and its result or (line, traceback).
        """

    @abstractmethod
    def _ended(self) -> str:
        """How the worker died, in words; releases what is left of it."""

    @property
    def ready(self) -> bool:
        """Whether the worker is built and idle, so that a call does not wait for it."""
        return self._ready and self._pending is None

    def begin(self, method: str, *arguments: Any) -> None:
        """Sends the call without waiting. No other call is allowed before `finish`."""
        assert self._pending is None, f"{self._pending} is not finished"
        self._pending = method, arguments
        try:
            self._send_call(self._pending)
        except Exception:
            self._pending = None
            raise

    def finish(self, repeatable: bool = True) -> Any:
        """Waits for the result of the call.

        If the worker died, restarts it and repeats the call, or raises `WorkerError` if the call is
        not `repeatable`: another call would return something else.
        """
        assert self._pending is not None, "no call was begun"
        method, arguments = self._pending
        try:
            while True:
                try:
                    result = self._receive(method, arguments)
                    break
                except GONE:
                    self._restart(repeatable)
                    self._send_call((method, arguments))
        except Exception:
            self._pending = None
            raise
        # After Ctrl-C the call stays pending: the worker is busy with it, and `close` kills it.
        self._pending = None
        if method in self._remember:
            self._last_calls[method] = arguments
        return result

    def _wait_ready(self) -> None:
        if not self._launched_once:
            self.start()
        if self._ready:
            return
        self._receive("start", ())
        for method, arguments in self._last_calls.items():
            self._send((method, arguments))
            self._receive(method, arguments)
        self._ready = True

    def _send_call(self, call: Call) -> None:
        with contextlib.suppress(*GONE):  # `finish` detects the death and sends the call again
            self._wait_ready()
            self._send(call)

    def _receive(self, method: str, arguments: tuple[Any, ...]) -> Any:
        succeeded, value = self._wait(method, self._patience.limit_s(method, arguments))
        if not succeeded:
            line, traceback = value
            raise WorkerError(f"the {self.name} failed in {method}: {line}") from Remote(traceback)
        return value

    def _restart(self, repeatable: bool) -> None:
        died = self._ended()
        where = f"; its last output is in {self.log}" if self.log else ""
        if not repeatable:
            raise DiedError(
                f"{died}{where}; what it was computing cannot be repeated, as the weights have "
                "changed since it began"
            )
        if self._restarts_left == 0:
            raise DiedError(died + where)
        self._restarts_left -= 1
        self._warn(f"{died}; restarted{where}")
        self.start()
