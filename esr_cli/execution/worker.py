"""Workers: plain classes with plain methods, run inline or in a separate process.

`place` wraps any class. In a process, arguments and results pass through a pipe, with tensors in
shared memory. An exception in the worker is raised here with its traceback. A worker that died is
restarted; its remembered calls and the call in which it died are repeated. A worker that is silent,
or whose call is overdue, is killed, and then it has died (`watch`). Sending and receiving happen in
threads, so that no wait here can block for good or keep Ctrl-C from being noticed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent import futures
from multiprocessing.reduction import ForkingPickler
from typing import Any

# Registers the reducers that pass tensors through pipes in shared memory.
import torch.multiprocessing  # noqa: F401

from esr_cli.base import process as proc
from esr_cli.base.failures import Failure, Remote
from esr_cli.execution.processes import GONE, Launched, method_of, take_process
from esr_cli.execution.watch import TICK_S, Patience, Watch

# A method and its arguments.
Call = tuple[str, tuple[Any, ...]]
# Seconds that an idle process has to exit, and that the kernel has to end a killed one.
EXIT_S, KILL_S = 10.0, 20.0


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

    def finish(self, repeatable: bool = True) -> Any:
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
        self._launched: Launched | None = None
        self._ready, self._killed = False, ""
        # The message that is being sent, and the one that is awaited.
        self._sent = self._received = futures.Future[Any]()
        self._sent.set_result(None)

    @property
    def pid(self) -> int | None:
        """The process id, or None if there is no process."""
        return self._launched.process.pid if self._launched else None

    @property
    def ready(self) -> bool:
        """Whether the worker is built and idle, so that a call does not wait for it."""
        return self._ready and self._pending is None

    def start(self) -> None:
        """Launches the process without waiting, so that several can start in parallel."""
        self._launched = take_process(self.name)
        self._ready, self._killed = False, ""
        # The process reads this after its imports.
        self._post((self._build, self._settings, self.log))

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls the method; restarts a dead worker and repeats the call, up to the limit."""
        self.begin(method, *arguments)
        return self.finish()

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

    def close(self) -> None:
        """Ends the process: kills it if it is busy, else gives it ten seconds to exit."""
        if self._launched is None:
            return
        process = self._launched.process
        try:
            if self.ready:
                self._post(None)
                process.join(EXIT_S)
        finally:  # also after Ctrl-C
            self._kill()
            self._close_pipe()
            self._launched, self._ready = None, False

    def _wait_ready(self) -> None:
        if self._launched is None:
            self.start()
        if self._ready:
            return
        self._receive("start", ())
        for method, arguments in self._last_calls.items():
            self._post((method, arguments))
            self._receive(method, arguments)
        self._ready = True

    def _send_call(self, call: Call) -> None:
        with contextlib.suppress(*GONE):  # `finish` detects the death and sends the call again
            self._wait_ready()
            self._post(call)

    def _post(self, message: Any) -> None:
        """Sends a message in a thread, since it may exceed the buffer of a pipe that none reads."""
        assert self._launched is not None
        data = ForkingPickler.dumps(message)
        pipe = self._launched.pipe
        self._sent = _in_thread(lambda: _send(pipe, data))

    def _receive(self, method: str, arguments: tuple[Any, ...]) -> Any:
        succeeded, value = self._wait(method, self._patience.limit_s(method, arguments))
        if not succeeded:
            line, traceback = value
            raise WorkerError(f"the {self.name} failed in {method}: {line}") from Remote(traceback)
        return value

    def _wait(self, method: str, limit_s: float) -> Any:
        """The next message of the worker, which is killed if it is silent or overdue."""
        assert self._launched is not None
        process, pipe, beats = self._launched
        watch = Watch(
            self.name, process.pid, beats, method, self._patience.silence_s, limit_s, self._warn
        )
        # To read a message may block as well: the worker hands over its tensors one by one.
        self._received, dead = _in_thread(pipe.recv), False
        while not futures.wait([self._received], TICK_S).done:
            if dead:  # and a descendant of it holds its end of the pipe
                raise EOFError
            dead = not process.is_alive()
            if not dead and not self._killed:
                self._killed = watch.look()
                if self._killed:
                    self._kill()
        return self._received.result()

    def _kill(self) -> None:
        """Kills the process if it is alive, with the processes that it has started."""
        assert self._launched is not None
        process = self._launched.process
        if process.is_alive():
            proc.kill_tree(process.pid)
            process.join(KILL_S)
        if process.is_alive():
            raise WorkerError(f"the {self.name} (pid {process.pid}) hangs and cannot be killed")

    def _close_pipe(self) -> None:
        """Closes the pipe once no thread uses it, since its descriptor is soon that of another."""
        assert self._launched is not None
        if not futures.wait([self._sent, self._received], KILL_S).not_done:
            self._launched.pipe.close()

    def _restart(self, repeatable: bool) -> None:
        assert self._launched is not None
        process = self._launched.process
        process.join(5)
        died = f"the {self.name}'s process died (exit status {process.exitcode})"
        if self._killed:
            died = f"the {self.name} (pid {process.pid}) {self._killed} and was killed"
        where = f"; its last output is in {self.log}" if self.log else ""
        if not repeatable:
            raise WorkerError(
                f"{died}{where}; what it was computing cannot be repeated, as the weights have "
                "changed since it began"
            )
        if self._restarts_left == 0:
            raise WorkerError(died + where)
        self._restarts_left -= 1
        self._warn(f"{died}; restarted{where}")
        self._close_pipe()
        self.start()


Worker = InlineWorker | ProcessWorker


def _send(pipe: Any, data: Any) -> None:
    with contextlib.suppress(*GONE, OSError):  # `finish` detects the death of the process
        pipe.send_bytes(data)


def _in_thread(function: Callable[[], Any]) -> futures.Future[Any]:
    """Runs the function in a thread that does not keep this process from ending."""
    future = futures.Future[Any]()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def place(where: str, name: str, build: Callable[..., Any], settings: dict[str, Any],
          **process_options: Any) -> Worker:  # fmt: skip
    """A worker built by `build(**settings)`; `where` is `inline` or `process`."""
    if where == "inline":
        return InlineWorker(name, build, settings)
    return ProcessWorker(name, build, settings, **process_options)
