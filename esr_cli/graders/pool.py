"""A pool of killable worker processes, for work that may hang, crash or exhaust memory.

An item that exceeds its limit of CPU time (if it waits: a longer one by the clock), kills its
worker or raises affects only its own outcome. The outcome holds the reason, a new worker replaces a
dead one, and other items are unaffected.

Workers are fresh interpreters. Forks are unsafe, because the caller may hold threads, CUDA or
locks. `multiprocessing` spawns import the caller's main module again and leave a tracker process
behind. Workers start with the first items and live until `close`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from esr_cli.base import failures
from esr_cli.base.failures import Failure
from esr_cli.base.process import cpu_seconds
from esr_cli.graders.watch import WALL_FACTOR, Stopwatch

# CPU seconds of a start: imports and `make`.
START_SECONDS = 60.0
DIED, MOST_FAILED_STARTS = "worker died", 5
ORPHAN_SECONDS = 5.0
GONE = (EOFError, OSError)
_BOOT = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from esr_cli.graders.pool import serve; serve(int(sys.argv[1]))"
)

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class Outcome:
    """An item's value, or the reason in `failure`: `timed out`, `worker died`, `out of memory`, or
    the function's exception."""

    value: Any = None
    failure: str | None = None


class Pool:
    """`workers` processes that each call `make()` and apply the returned function to items.

    `make` is a module-level function (it is pickled by name) and may import heavy packages.
    `seconds` is the limit of an item in CPU time, `memory_gib` the address space of a worker. Any
    thread may call `map`; calls are serialized.
    """

    def __init__(
        self,
        make: Callable[[], Function],
        workers: int | None = None,
        seconds: float = 10,
        memory_gib: float = 2,
    ) -> None:
        self._make, self._seconds, self._memory = make, seconds, int(memory_gib * 2**30)
        self._limit = workers or min(16, len(os.sched_getaffinity(0)))
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._lock = threading.Lock()

    @property
    def pids(self) -> list[int]:
        """The process ids of the live workers."""
        return [worker.process.pid for worker in self._workers]

    def map(self, items: Sequence[Any]) -> list[Outcome]:
        """Returns one outcome per item, in order; raises `Failure` if a worker cannot start."""
        with self._lock:
            waiting = deque(range(len(items)))
            outcomes = [Outcome()] * len(items)
            try:
                while waiting or any(worker.item is not None for worker in self._workers):
                    self._assign(items, waiting)
                    self._collect(outcomes)
            except BaseException:
                # Results of unfinished items would be read as results of the next call.
                self._end()
                raise
            return outcomes

    def close(self) -> None:
        """Kills every worker; a later `map` starts new ones."""
        with self._lock:
            self._end()

    def _assign(self, items: Sequence[Any], waiting: deque[int]) -> None:
        while len(self._workers) < min(self._limit, len(waiting) + self._busy()):
            self._workers.append(_Worker(self._make, self._seconds, self._memory))
        for worker in list(self._workers):
            if waiting and worker.ready and worker.item is None:
                if worker.send(waiting[0], items[waiting[0]]):
                    waiting.popleft()
                else:
                    self._drop(worker)

    def _collect(self, outcomes: list[Outcome]) -> None:
        """Waits for a result or until a limit can be reached, and stores the outcomes."""
        active = [worker for worker in self._workers if worker.limit is not None]
        if not active:
            return
        readable = wait([worker.pipe for worker in active], min(map(_Worker.left, active)))
        for worker in active:
            if worker.pipe in readable:
                outcome = worker.receive()
            elif not worker.left():
                outcome = Outcome(failure="timed out")
                worker.alive = False
            else:
                continue
            if worker.item is not None and outcome is not None:
                outcomes[worker.item] = outcome
                worker.item = None
            if not worker.alive:
                self._drop(worker)
                if not worker.ready:
                    self._count_failed_start(outcome.failure if outcome else "no answer")
            elif worker.item is None:
                worker.limit = None
                self._failed_starts = 0

    def _count_failed_start(self, reason: str | None) -> None:
        """Counts workers that die while starting; raises `Failure` after several in a row."""
        self._failed_starts += 1
        if reason != DIED or self._failed_starts >= MOST_FAILED_STARTS:
            raise Failure(f"a grading worker could not start: {reason}")

    def _busy(self) -> int:
        return sum(worker.item is not None for worker in self._workers)

    def _drop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.end()

    def _end(self) -> None:
        while self._workers:
            self._workers.pop().end()


class _Worker:
    """The owner's handle of one process; `item` is the index of its current item."""

    def __init__(self, make: Callable[[], Function], seconds: float, memory: int) -> None:
        self.pipe, child_pipe = Pipe()
        command = [sys.executable, "-c", _BOOT, str(child_pipe.fileno()), *sys.path]
        # A new session shields the worker from Ctrl-C in a terminal, even during its imports.
        self.process = subprocess.Popen(
            command,
            pass_fds=[child_pipe.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Close the child's end here; otherwise its death would not close the pipe.
        child_pipe.close()
        self.seconds = seconds
        self.ready, self.alive = False, True
        self.limit: Stopwatch | None = Stopwatch(self.process.pid, START_SECONDS)
        self.item: int | None = None
        with contextlib.suppress(OSError):
            self.pipe.send((make, seconds, memory))

    def send(self, number: int, item: Any) -> bool:
        """Sends an item; returns False if the worker died while idle and the item was not sent."""
        try:
            self.pipe.send(item)
        except OSError:
            return False
        self.item, self.limit = number, Stopwatch(self.process.pid, self.seconds)
        return True

    def left(self) -> float:
        """Seconds until the limit can be reached, 0 if it is."""
        assert self.limit is not None
        return self.limit.left(cpu_seconds(self.process.pid))

    def receive(self) -> Outcome | None:
        """Returns the worker's outcome, its death included; None for the ready message."""
        try:
            outcome: Outcome = self.pipe.recv()
        except GONE:
            self.alive = False
            return Outcome(failure=DIED)
        if self.ready:
            return outcome
        self.ready = self.alive = outcome.failure is None
        return None if self.ready else outcome

    def end(self) -> None:
        """Kills the process and reaps it."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()


def serve(descriptor: int) -> None:
    """The worker's main loop: reads `make` and the limits, then items until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(descriptor)
    with contextlib.suppress(*GONE):
        try:
            make, seconds, memory = pipe.recv()
            function = make()
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        except Exception as error:
            pipe.send(Outcome(failure=failures.summary(error)))
            return
        pipe.send(Outcome())
        while True:
            item = pipe.recv()
            # If the owner has died, these timers end an item that never returns.
            signal.setitimer(signal.ITIMER_PROF, seconds + ORPHAN_SECONDS)
            signal.setitimer(signal.ITIMER_REAL, WALL_FACTOR * seconds + ORPHAN_SECONDS)
            outcome = _attempt(function, item)
            for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
                signal.setitimer(timer, 0)
            pipe.send(outcome)


def _attempt(function: Function, item: Any) -> Outcome:
    try:
        return Outcome(function(item))
    except MemoryError:
        return Outcome(failure="out of memory")
    except Exception as error:
        # Items are untrusted: any exception is their result.
        return Outcome(failure=f"{type(error).__name__}: {error}"[:200])
