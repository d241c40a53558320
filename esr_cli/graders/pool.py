"""A pool of worker processes that may be killed, for work that may hang, crash or eat memory.

An item that outlasts its limit, kills its worker or raises costs itself alone: its result says
why, a new worker takes the dead one's place, and the other items never notice.

Workers are fresh interpreters rather than forks (the caller may hold threads, CUDA or locks) and
rather than `multiprocessing` spawns (which import the caller's main module again and leave a
tracker process behind). They start with the first items and live until `close`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

START_SECONDS = 120.0
DIED, MOST_LOST_STARTS = "worker died", 5
ORPHAN_SECONDS = 5.0
GONE = (EOFError, OSError)
_BOOT = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from esr_cli.graders.pool import serve; serve(int(sys.argv[1]))"
)

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class Outcome:
    """An item's value, or in `failure` why there is none: `timed out`, `worker died`, `out of
    memory`, or what the function raised."""

    value: Any = None
    failure: str | None = None


class Pool:
    """`workers` processes that each hold `make()`, a function of one item.

    `make` is a module-level function (it travels by name) and may import what is heavy; `seconds`
    is the wall-clock limit of an item, `memory_gib` the address space of a worker. Any thread may
    call `map`; calls take turns.
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
        self._lost_starts = 0
        self._lock = threading.Lock()

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers alive."""
        return [worker.process.pid for worker in self._workers]

    def map(self, items: Sequence[Any]) -> list[Outcome]:
        """An outcome an item, in order; RuntimeError where a worker cannot even start."""
        with self._lock:
            waiting = deque(range(len(items)))
            outcomes = [Outcome()] * len(items)
            try:
                while waiting or any(worker.item is not None for worker in self._workers):
                    self._hand_out(items, waiting)
                    self._collect(outcomes)
            except BaseException:
                # Half-done items would be taken for answers to the next call's.
                self._end()
                raise
            return outcomes

    def close(self) -> None:
        """Ends every worker; a later `map` starts new ones."""
        with self._lock:
            self._end()

    def _hand_out(self, items: Sequence[Any], waiting: deque[int]) -> None:
        while len(self._workers) < min(self._limit, len(waiting) + self._busy()):
            self._workers.append(_Worker(self._make, self._seconds, self._memory))
        for worker in list(self._workers):
            if waiting and worker.ready and worker.item is None:
                if worker.send(waiting[0], items[waiting[0]]):
                    waiting.popleft()
                else:
                    self._drop(worker)

    def _collect(self, outcomes: list[Outcome]) -> None:
        """Waits for news or the nearest deadline, and takes down what it hears."""
        active = [worker for worker in self._workers if worker.deadline is not None]
        if not active:
            return
        nearest = min(worker.deadline for worker in active if worker.deadline is not None)
        heard = wait([worker.pipe for worker in active], max(0.0, nearest - time.monotonic()))
        for worker in active:
            if worker.pipe in heard:
                outcome = worker.receive()
            elif worker.deadline is not None and worker.deadline <= time.monotonic():
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
                    self._note_lost_start(outcome.failure if outcome else "no answer")
            elif worker.item is None:
                worker.deadline = None
                self._lost_starts = 0

    def _note_lost_start(self, reason: str | None) -> None:
        """One worker killed while it starts is replaced like any other; several are no accident."""
        self._lost_starts += 1
        if reason != DIED or self._lost_starts >= MOST_LOST_STARTS:
            raise RuntimeError(f"a grading worker could not start: {reason}")

    def _busy(self) -> int:
        return sum(worker.item is not None for worker in self._workers)

    def _drop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.end()

    def _end(self) -> None:
        while self._workers:
            self._workers.pop().end()


class _Worker:
    """One process as its owner sees it; `item` is the number of the item it works on."""

    def __init__(self, make: Callable[[], Function], seconds: float, memory: int) -> None:
        self.pipe, theirs = Pipe()
        command = [sys.executable, "-c", _BOOT, str(theirs.fileno()), *sys.path]
        # A session of its own keeps Ctrl-C in a terminal away, even while it still imports.
        self.process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Ours must be the only other end, or the death of the child would go unnoticed.
        theirs.close()
        self.seconds = seconds
        self.ready, self.alive = False, True
        self.deadline: float | None = time.monotonic() + START_SECONDS
        self.item: int | None = None
        with contextlib.suppress(OSError):
            self.pipe.send((make, seconds, memory))

    def send(self, number: int, item: Any) -> bool:
        """Hands over an item; False where the worker died idle and the item is still whole."""
        try:
            self.pipe.send(item)
        except OSError:
            return False
        self.item, self.deadline = number, time.monotonic() + self.seconds
        return True

    def receive(self) -> Outcome | None:
        """What the worker says, its death included; None for the news that it is ready."""
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
        """Kills the process and waits for it, so that no zombie stays."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()


def serve(descriptor: int) -> None:
    """A worker's life: reads `make` and the limits, then items until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(descriptor)
    with contextlib.suppress(*GONE):
        try:
            make, seconds, memory = pipe.recv()
            function = make()
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        except Exception:
            pipe.send(Outcome(failure=traceback.format_exc()))
            return
        pipe.send(Outcome())
        while True:
            item = pipe.recv()
            # Should the owner be gone, nobody else would end an item that never ends.
            signal.setitimer(signal.ITIMER_REAL, seconds + ORPHAN_SECONDS)
            outcome = _attempt(function, item)
            signal.setitimer(signal.ITIMER_REAL, 0)
            pipe.send(outcome)


def _attempt(function: Function, item: Any) -> Outcome:
    try:
        return Outcome(function(item))
    except MemoryError:
        return Outcome(failure="out of memory")
    except Exception as error:
        # Items are built from what strangers wrote: whatever they raise is their result.
        return Outcome(failure=f"{type(error).__name__}: {error}"[:200])
