"""Workers: plain classes with plain methods, placed inline or in a process of their own.

`place` wraps the class it is given and knows no roles. In a process, arguments and results pass
through a pipe with tensors in shared memory; what the worker raises comes back with its traceback;
a worker that died is made again, its remembered calls are repeated, and so is the call it died in.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

# What teaches pipes to carry tensors in shared memory.
import torch.multiprocessing  # noqa: F401

from esr_cli.execution.processes import GONE, method_of, take_process

# A method and its arguments.
Call = tuple[str, tuple[Any, ...]]


class WorkerError(RuntimeError):
    """A worker raised, could not start, or died more often than allowed."""


class InlineWorker:
    """The worker in this very process, behind the same calls as `ProcessWorker`."""

    def __init__(self, name: str, build: Callable[..., Any], settings: dict[str, Any]) -> None:
        self.name = name
        self._worker: Any = None
        self._build, self._settings = build, settings
        self._asked: Call | None = None

    def start(self) -> None:
        """Nothing to launch ahead of time."""

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls the method, making the worker first where needed."""
        self.begin(method, *arguments)
        return self.finish()

    def begin(self, method: str, *arguments: Any) -> None:
        """Only remembers what is asked: it is done in `finish`."""
        assert self._asked is None, f"{self._asked} is not finished"
        self._asked = method, arguments

    def finish(self) -> Any:
        """The result of what was begun."""
        assert self._asked is not None, "nothing was begun"
        (method, arguments), self._asked = self._asked, None
        if self._worker is None:
            self._worker = self._build(**self._settings)
        return method_of(self._worker, method)(*arguments)

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
        self.name, self.log = name, log
        self._build, self._settings = build, settings
        self._restarts_left, self._remember, self._on_restart = restarts, remember, on_restart
        self._last_calls: dict[str, tuple[Any, ...]] = {}
        self._asked: Call | None = None
        self._process: Any = None
        self._pipe: Any = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """The process id while the worker lives."""
        return self._process.pid if self._process is not None else None

    @property
    def ready(self) -> bool:
        """Whether the worker was made, so that a call does not wait for that."""
        return self._ready

    def start(self) -> None:
        """Launches the process without waiting, so that several start side by side."""
        self._process, self._pipe = take_process(self.name)
        self._ready = False
        # Orders may be larger than a pipe holds before they are read, which is after imports.
        orders = ForkingPickler.dumps((self._build, self._settings, self.log))
        self._orders = threading.Thread(target=_send, args=(self._pipe, orders), daemon=True)
        self._orders.start()

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls the method there; restarts a dead worker and repeats, up to the limit."""
        self.begin(method, *arguments)
        return self.finish()

    def begin(self, method: str, *arguments: Any) -> None:
        """Has the method called without waiting; nothing else may be asked before `finish`."""
        assert self._asked is None, f"{self._asked} is not finished"
        self._tell((method, arguments))
        self._asked = method, arguments

    def finish(self) -> Any:
        """The result of what was begun, from a worker made again where this one died."""
        assert self._asked is not None, "nothing was begun"
        method, arguments = self._asked
        try:
            while True:
                try:
                    result = self._receive(method)
                    break
                except GONE:
                    self._start_again()
                    self._tell(self._asked)
        finally:
            self._asked = None
        if method in self._remember:
            self._last_calls[method] = arguments
        return result

    def close(self) -> None:
        """Ends the process: at once if it is at work, else it has ten seconds to end by itself."""
        if self._process is None:
            return
        if self._asked is None and self._ready:
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
        self._orders.join()
        self._receive("start")
        self._ready = True
        for method, arguments in self._last_calls.items():
            self._ask(method, arguments)

    def _tell(self, call: Call) -> None:
        with contextlib.suppress(*GONE):  # seen by who receives, and then told again
            self._wait_ready()
            self._pipe.send(call)

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
        where = f"; its last words are in {self.log}" if self.log else ""
        if self._restarts_left == 0:
            raise WorkerError(died + where)
        self._restarts_left -= 1
        self._on_restart(f"{died}; made again{where}")
        self._pipe.close()
        self.start()


Worker = InlineWorker | ProcessWorker


def _send(pipe: Any, orders: Any) -> None:
    with contextlib.suppress(*GONE, OSError):  # its death is seen by who waits for it
        pipe.send_bytes(orders)


def place(where: str, name: str, build: Callable[..., Any], settings: dict[str, Any],
          **process_options: Any) -> Worker:  # fmt: skip
    """A worker made by `build(**settings)`, `inline` or in a `process`."""
    if where == "inline":
        return InlineWorker(name, build, settings)
    return ProcessWorker(name, build, settings, **process_options)
