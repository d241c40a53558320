"""Workers: plain classes with plain methods, run inline, in a separate process, or by Ray.

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
from esr_cli.execution.processes import GONE, Launched, method_of, take_process
from esr_cli.execution.restarting import Call, CalledWorker, RestartingWorker, WorkerError
from esr_cli.execution.seat import Seat
from esr_cli.execution.watch import TICK_S, Watch, process_signs

# Seconds that an idle process has to exit, and that the kernel has to end a killed one.
EXIT_S, KILL_S = 10.0, 20.0


class InlineWorker(CalledWorker):
    """A worker in this process, with the interface of `RestartingWorker`."""

    shares_memory = True

    def __init__(self, name: str, build: Callable[..., Any], settings: dict[str, Any]) -> None:
        self.name = name
        self._worker: Any = None
        self._build, self._settings = build, settings
        self._pending: Call | None = None

    def start(self) -> None:
        """Does nothing: there is no process to launch."""

    def begin(self, method: str, *arguments: Any) -> None:
        """Records the call, which `finish` runs."""
        assert self._pending is None, f"{self._pending} is not finished"
        self._pending = method, arguments

    def finish(self, repeatable: bool = True) -> Any:
        """Runs the call that `begin` recorded and returns its result."""
        assert self._pending is not None, "no call was begun"
        call, self._pending = self._pending, None
        return self._run(*call)

    def _run(self, method: str, arguments: tuple[Any, ...]) -> Any:
        if self._worker is None:
            self._worker = self._build(**self._settings)
        return method_of(self._worker, method)(*arguments)

    def close(self) -> None:
        """Releases the worker, which may have something to close itself."""
        if close := getattr(self._worker, "close", None):
            close()
        self._worker = None


class ThreadWorker(InlineWorker):
    """An inline worker whose calls run in a thread: for a client that mostly waits for others."""

    def begin(self, method: str, *arguments: Any) -> None:
        """Begins the call in a thread."""
        super().begin(method, *arguments)
        self._answer = _in_thread(lambda: self._run(method, arguments))

    def finish(self, repeatable: bool = True) -> Any:
        """Waits for the call; returns its result, or raises its exception."""
        assert self._pending is not None, "no call was begun"
        try:
            return self._answer.result()
        finally:
            self._pending = None


class ProcessWorker(RestartingWorker):
    """A worker in a spawned process; see `RestartingWorker` for its options."""

    shares_memory = True

    def __init__(self, name: str, build: Callable[..., Any], settings: dict[str, Any],
                 **options: Any) -> None:  # fmt: skip
        super().__init__(name, build, settings, **options)
        self._launched: Launched | None = None
        self._killed = ""
        # The message that is being sent, and the one that is awaited.
        self._sent = self._received = futures.Future[Any]()
        self._sent.set_result(None)

    @property
    def pid(self) -> int | None:
        """The process id, or None if there is no process."""
        return self._launched.process.pid if self._launched else None

    def start(self) -> None:
        """Launches the process without waiting, so that several can start in parallel."""
        self._launched = take_process(self.name)
        self._launched_once, self._ready, self._killed = True, False, ""
        # The process reads this after its imports.
        self._send((self._build, self._settings, self.log))

    def close(self) -> None:
        """Ends the process: kills it if it is busy, else gives it ten seconds to exit."""
        if self._launched is None:
            return
        process = self._launched.process
        try:
            if self.ready:
                self._send(None)
                process.join(EXIT_S)
        finally:  # also after Ctrl-C
            self.kill()
            self._close_pipe()
            self._launched, self._launched_once, self._ready = None, False, False

    def _send(self, message: Any) -> None:
        """Sends a message in a thread, since it may exceed the buffer of a pipe that none reads."""
        assert self._launched is not None
        data = ForkingPickler.dumps(message)
        pipe = self._launched.pipe
        self._sent = _in_thread(lambda: _write(pipe, data))

    def _wait(self, method: str, limit_s: float) -> tuple[bool, Any]:
        assert self._launched is not None
        process, pipe, beats = self._launched
        watch = Watch(
            f"the {self.name} (pid {process.pid})", process_signs(process.pid, beats), method,
            self._patience.silence_s, limit_s, self._warn,
        )  # fmt: skip
        # To read a message may block as well: the worker hands over its tensors one by one.
        self._received, dead = _in_thread(pipe.recv), False
        while not futures.wait([self._received], TICK_S).done:
            if dead:  # and a descendant of it holds its end of the pipe
                raise EOFError
            dead = not process.is_alive()
            if not dead and not self._killed:
                self._killed = watch.look()
                if self._killed:
                    self.kill()
        return self._received.result()

    def kill(self) -> None:
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

    def _ended(self) -> str:
        assert self._launched is not None
        process = self._launched.process
        process.join(5)
        self._close_pipe()
        if self._killed:
            return f"the {self.name} (pid {process.pid}) {self._killed} and was killed"
        return f"the {self.name}'s process died (exit status {process.exitcode})"


Worker = InlineWorker | RestartingWorker


def _write(pipe: Any, data: Any) -> None:
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
          seat: Seat | None = None, **options: Any) -> Worker:  # fmt: skip
    """A worker built by `build(**settings)`; `where` is `inline`, `thread`, `process` or `ray`.

    On Ray the seat is reserved; in the other places `build` takes it.
    """
    if where == "inline":
        return InlineWorker(name, build, settings)
    if where == "thread":
        return ThreadWorker(name, build, settings)
    if where == "process":
        return ProcessWorker(name, build, settings, **options)
    from esr_cli.execution.ray import RayWorker

    return RayWorker(name, build, settings, seat or Seat(), **options)
