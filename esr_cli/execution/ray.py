"""Workers as actors of Ray, on one machine or on many.

Ray places a worker, carries its calls and tells of its death; what follows from a death is ours
(`RestartingWorker`), as Ray's own restarts lose what a worker had been told. A second thread of the
actor answers while the first computes: that is its sign of life, and it carries its output, which
the driver writes into the run's folder.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from esr_cli.base import companions, writing
from esr_cli.execution.cluster import connect, strategy
from esr_cli.execution.packing import pack, size_of, unpack
from esr_cli.execution.processes import method_of, raised, redirect
from esr_cli.execution.restarting import RestartingWorker
from esr_cli.execution.seat import Seat
from esr_cli.execution.watch import TICK_S, Watch

# Bytes of output that one look takes, and seconds for the last look at a worker that ends.
OUTPUT_BYTES, LAST_LOOK_S = 1 << 20, 5.0
# Seconds that Ray has to start the process of an actor.
START_S = 120.0


class Where(NamedTuple):
    """The machine, process and output file of an actor."""

    host: str
    pid: int
    output: str


NOWHERE = Where("", 0, "")


class Served:
    """The actor: a process of Ray that builds a worker and calls its methods."""

    def __init__(self) -> None:
        self._worker: Any = None
        companions.hide()
        # By file descriptor, since C libraries bypass Python's streams.
        self._output = tempfile.NamedTemporaryFile(  # noqa: SIM115
            prefix="esr-worker-", delete=False
        )
        redirect(self._output.fileno(), self._output.fileno())

    def build(self, build: Callable[..., Any], settings: dict[str, Any]) -> tuple[bool, Any]:
        """Builds the worker; whether that succeeded, and where it is or why not."""
        try:
            self._worker = build(**settings)
        except Exception as error:
            return False, raised(error)
        return True, self._where()

    def call(self, method: str, *arguments: Any) -> tuple[bool, Any]:
        """Calls a method; whether it succeeded, and the result or the error."""
        try:
            found = method_of(self._worker, method)(*map(unpack, arguments))
            return True, pack(found)
        except Exception as error:
            return False, raised(error)

    @ray.method(concurrency_group="looks")
    def look(self, read: int) -> tuple[Where, bytes]:
        """Where the worker is, and its output after the first `read` bytes."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return self._where(), os.pread(self._output.fileno(), OUTPUT_BYTES, read)

    def forget_output(self) -> None:
        """Deletes the file of the output."""
        os.unlink(self._output.name)

    def _where(self) -> Where:
        return Where(socket.gethostname(), os.getpid(), self._output.name)


@dataclass(frozen=True)
class Shared:
    """A value in Ray's memory, and the bytes of its tensors."""

    reference: Any
    size: int


class RayWorker(RestartingWorker):
    """A worker as an actor of Ray that takes `seat`; see `RestartingWorker` for the options."""

    shares_memory = False

    def __init__(self, name: str, build: Callable[..., Any], settings: dict[str, Any], seat: Seat,
                 **options: Any) -> None:  # fmt: skip
        super().__init__(name, build, settings, **options)
        self._seat = seat
        self._actor: Any = None
        self._answer: Any = None
        self._look: Any = None
        self._looks, self._read, self._killed, self._where = 0, 0, "", NOWHERE
        self._wire_bytes = 0

    @property
    def pid(self) -> int | None:
        """The actor's process id on its machine, or None if it is not known yet."""
        return self._where.pid or None

    def start(self) -> None:
        """Has Ray create the actor, without waiting."""
        connect(self._seat.address)
        self._log(b"")
        kind: Any = ray.remote
        kind = kind(concurrency_groups={"looks": 1})(Served)
        threads = {"OMP_NUM_THREADS": str(self._seat.threads)} if self._seat.threads else {}
        self._actor = kind.options(
            num_cpus=self._seat.cpus, num_gpus=self._seat.gpu_count, max_restarts=0,
            max_task_retries=0, scheduling_strategy=strategy(self._seat.bundle),
            runtime_env={"env_vars": threads},
        ).remote()  # fmt: skip
        self._launched_once, self._ready, self._killed = True, False, ""
        self._look, self._read, self._where = None, 0, NOWHERE
        self._answer = self._actor.build.remote(self._build, self._settings)

    def shared(self, value: Any) -> Any:
        """A reference to the value in Ray's memory, from where each worker reads it."""
        packed = pack(value)
        return Shared(ray.put(packed), size_of(packed))

    def take_wire_bytes(self) -> int:
        """The bytes of tensors that went to the actor and came back since the last call."""
        count, self._wire_bytes = self._wire_bytes, 0
        return count

    def close(self) -> None:
        """Kills the actor, after a last look at its output."""
        if self._actor is None:
            return
        if self.ready:
            self._take_last_output()
            with suppress(RayError):
                ray.get(self._actor.forget_output.remote(), timeout=LAST_LOOK_S)
            ray.kill(self._actor)
        else:
            self.kill()
            self._read_left_output()
        self._actor, self._launched_once, self._ready = None, False, False

    def _send(self, message: Any) -> None:
        assert self._actor is not None
        method, arguments = message
        self._answer = self._actor.call.remote(method, *map(self._passed, arguments))

    def _passed(self, argument: Any) -> Any:
        """What Ray passes for an argument; every actor reads a shared value for itself."""
        if isinstance(argument, Shared):
            self._wire_bytes += argument.size
            return argument.reference
        packed = pack(argument)
        self._wire_bytes += size_of(packed)
        return packed

    def _wait(self, method: str, limit_s: float) -> tuple[bool, Any]:
        watch = Watch(
            f"the {self.name} (on Ray)", self._signs, method, self._patience.silence_s, limit_s,
            self._warn,
        )  # fmt: skip
        while not ray.wait([self._answer], timeout=TICK_S)[0]:
            # A process that Ray has yet to start shows no sign of life.
            waiting = method == "start" and not self.pid
            watch.silence_s = max(self._patience.silence_s, START_S if waiting else 0)
            self._killed = watch.look()
            if self._killed:
                self.kill()
                raise ConnectionError(self._killed)
        try:
            succeeded, value = ray.get(self._answer)
        except RayTaskError as error:  # an argument or a result that cannot be passed
            return False, raised(error.cause if isinstance(error.cause, Exception) else error)
        except RayError as error:  # the actor or its machine died, or ran out of memory
            raise ConnectionError(str(error)) from None
        if method == "start" and succeeded:
            self._where = value
        elif method == "start":
            self._take_last_output()
        if method == "start" or not succeeded:
            return succeeded, value
        self._wire_bytes += size_of(value)
        return True, unpack(value)

    def _signs(self) -> int:
        self._take_output(0)
        return self._looks

    def _take_output(self, wait_s: float) -> int:
        """Asks for a look, or takes the one that has come; the number of bytes that it brought."""
        assert self._actor is not None
        if self._look is None:
            self._look = self._actor.look.remote(self._read)
        try:
            where, output = ray.get(self._look, timeout=wait_s)
        except RayError:
            return 0
        self._where = where
        self._look, self._looks, self._read = None, self._looks + 1, self._read + len(output)
        self._log(output)
        return len(output)

    def _take_last_output(self) -> None:
        """Takes all output that there is; a look that is on its way may have been too early."""
        if self._look is not None:
            self._take_output(LAST_LOOK_S)
        while self._take_output(LAST_LOOK_S) == OUTPUT_BYTES:
            pass

    def _log(self, output: bytes) -> None:
        if self.log:
            with writing.open_file(Path(self.log), os.O_APPEND) as file:
                file.write(output)

    def kill(self) -> None:
        """Kills the actor, even if it is stopped."""
        with suppress(RayError):
            ray.kill(self._actor)
        # Ray does not end a process that is stopped.
        if self.pid and self._where.host == socket.gethostname():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)

    def _read_left_output(self) -> None:
        """Takes what a dead actor has left, if it was on this machine, and deletes it."""
        if self._where.host == socket.gethostname():
            with suppress(OSError):
                left = Path(self._where.output)
                self._log(left.read_bytes()[self._read :])
                left.unlink()

    def _ended(self) -> str:
        self._read_left_output()
        if self._killed and not self.pid:
            return (
                f"the {self.name}'s actor did not start on Ray: no machine has room for it, or its "
                "process does not come up"
            )
        if self._killed:
            return f"the {self.name} (on Ray) {self._killed} and was killed"
        return f"the {self.name}'s actor on Ray died"
