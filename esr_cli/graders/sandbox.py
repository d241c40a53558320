"""Runs a Python program on untrusted code in bubblewrap: `Sandbox().run(source, stdin)`.

What holds against hostile code:

- It sees `/usr`, the libraries, the interpreter and numpy, all read-only, two devices, and nothing
  else: no home, no `/etc`, no `/proc`, no `/tmp`. There is no place to write at all: bubblewrap
  cannot bound the number of files of a tmpfs, and a million of them cost a GiB of kernel memory.
- Namespaces of its own for users, processes, network, IPC and host name; none can be nested. No
  capabilities. As root each slot has a user of its own (60000 and up), since limits on processes
  do not bind root. The environment holds a few fixed variables.
- Limits on CPU time, address space, threads, open files, file size and core dumps; a filter of
  system calls (`seccomp.py`) refuses new processes and memory outside the address space.
- The parent reads a bounded amount, and kills everything at a deadline or after a silence. With
  the first process of the namespace the kernel ends every other: no daemon outlives a run.

What does not: faults of the kernel; CPU time, caches and memory bandwidth are shared with the
trainer, and side channels with them; there is no control group, so the worst case in memory is
1 GiB a run (where there is no filter: 1 GiB times the processes allowed), times the workers. What
lies readable under /usr is readable inside. `none` (explicit only) keeps the limits and a
temporary folder, and nothing else: files, network, other processes and the parent's environment
are open to the code, and a daemon outlives it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from esr_cli.graders import interpreter, seccomp

FIRST_USER = 60000
MEMORY_BYTES = 1 << 30
PROCESSES = 16
FILE_BYTES = 8 << 20
OPEN_FILES = 32

# Runs before the program, inside: (resource, limit) pairs arrive as text, then the program.
LIMITER = """\
import resource, sys
for name, limit in eval(sys.argv[1]):
    resource.setrlimit(getattr(resource, name), (limit, limit))
exec(compile(sys.argv[2], "harness", "exec"), {"__name__": "__main__"})
"""
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",  # a verdict that depends on the order of a set is the same every time
}
INSIDE = {"PYTHONPATH": "/site", "LD_LIBRARY_PATH": "/python/lib"}
NAMESPACES = (
    "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
    "--cap-drop", "ALL", "--hostname", "sandbox",
)  # fmt: skip
DEVICES = ("--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/urandom", "/dev/urandom")
CLOSED = ("--remount-ro", "/", "--chdir", "/")
SMALL_PIECE_BYTES, PAUSE_S = 1 << 14, 0.005
KINDS = ("bubblewrap", "none")


@dataclass(frozen=True)
class Outcome:
    """What a run wrote to its standard output, and how it ended.

    `end` is `exit` (`status` as in `subprocess`), `time` (deadline), `silence` or `output` (more
    than was allowed); what was read until then is kept.
    """

    output: bytes
    end: str
    status: int


def check(kind: str = "bubblewrap") -> str | None:
    """Why this sandbox cannot run here, with the remedy; None when it can."""
    if kind not in KINDS:
        return f"no sandbox is called {kind!r}: choose one of {', '.join(KINDS)}"
    if kind == "none":
        return None
    if shutil.which("bwrap") is None:
        return "bubblewrap is missing: `apt-get install bubblewrap`, or sandbox=none at your risk"
    command = [*_isolated(), interpreter.executable(), "-s", "-S", "-c", "print(1)"]
    options = {**_as_user(0), "capture_output": True, "text": True, "timeout": 30}
    try:
        done = subprocess.run(command, **options)
    except (OSError, subprocess.SubprocessError) as error:
        return f"bubblewrap does not run ({error}), see sandbox=none"
    if done.stdout == "1\n":
        return None
    words = (done.stderr.strip().splitlines() or ["no word why"])[-1]
    return (
        f"bubblewrap does not run here ({words}): allow unprivileged user namespaces (sysctl "
        "kernel.unprivileged_userns_clone=1, user.max_user_namespaces, "
        "kernel.apparmor_restrict_unprivileged_userns=0; in Docker --security-opt "
        "seccomp=unconfined), or sandbox=none at your risk"
    )


class Sandbox:
    """`slots` runs at a time, from any threads; see the module for what it keeps out."""

    def __init__(self, kind: str = "bubblewrap", slots: int = 1) -> None:
        problem = check(kind)
        if problem:
            raise RuntimeError(problem)
        if kind == "none":
            warnings.warn("sandbox=none: responses run on this machine as you", stacklevel=3)
        self._kind = kind
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(slots):
            self._slots.put(slot)
        self._running: set[subprocess.Popen[bytes]] = set()

    def run(
        self,
        source: str,
        stdin: bytes,
        *,
        wall_s: float,
        silence_s: float,
        output_bytes: int,
        memory_bytes: int = MEMORY_BYTES,
    ) -> Outcome:
        """The program's output within `wall_s` seconds; `silence_s` is the longest pause in it."""
        slot = self._slots.get()
        try:
            with self._started(
                source, stdin, slot, _limits(int(wall_s) + 2, memory_bytes)
            ) as process:
                output, end = _read(process, wall_s, silence_s, output_bytes)
                if end == "exit":
                    # Standard output is closed: what still runs has nothing more to say.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=1.0)
            return Outcome(output, end, process.returncode)
        finally:
            self._slots.put(slot)

    def stop(self) -> None:
        """Kills what runs now; each `run` returns with what it has read."""
        for process in list(self._running):
            _kill(process)

    @contextlib.contextmanager
    def _started(
        self, source: str, stdin: bytes, slot: int, limits: list[tuple[str, int]]
    ) -> Iterator[subprocess.Popen[bytes]]:
        with contextlib.ExitStack() as stack:
            given = stack.enter_context(tempfile.TemporaryFile())
            given.write(stdin)
            given.seek(0)
            if self._kind == "none":
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="esr-sandbox-"))
                command = [sys.executable]
                options: dict[str, Any] = {"cwd": folder, "env": ENVIRONMENT}
            else:
                command, options = stack.enter_context(_bubblewrap(slot))
            command += ["-s", "-S", "-B", "-c", LIMITER, repr(limits), source]
            process = subprocess.Popen(
                command,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                **options,
            )
            self._running.add(process)
            try:
                yield process
            finally:
                _kill(process)
                process.wait()
                if process.stdout:
                    process.stdout.close()
                self._running.discard(process)


@contextlib.contextmanager
def _bubblewrap(slot: int) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """bwrap's command line up to the interpreter, and Popen's options for it."""
    command, options = _isolated(), _as_user(slot)
    rules = seccomp.program()
    if rules is None:
        yield [*command, interpreter.executable()], options
        return
    end, start = os.pipe()
    try:
        os.write(start, rules)
        os.close(start)
        command += ["--seccomp", str(end), interpreter.executable()]
        yield command, {**options, "pass_fds": (end,)}
    finally:
        os.close(end)


def _isolated() -> list[str]:
    found = shutil.which("bwrap") or "bwrap"
    return [found, *NAMESPACES, *interpreter.binds(), *DEVICES, *CLOSED]


def _as_user(slot: int) -> dict[str, Any]:
    options: dict[str, Any] = {"env": {**ENVIRONMENT, **INSIDE}, "cwd": "/"}
    if os.geteuid():
        return options
    return {**options, "user": FIRST_USER + slot, "group": FIRST_USER + slot, "extra_groups": []}


def _limits(cpu_s: int, memory_bytes: int) -> list[tuple[str, int]]:
    """Set inside, where the count of processes is the namespace's (Linux 5.14) or the user's."""
    return [
        ("RLIMIT_CPU", cpu_s),
        ("RLIMIT_AS", memory_bytes),
        ("RLIMIT_NPROC", PROCESSES),
        ("RLIMIT_FSIZE", FILE_BYTES),
        ("RLIMIT_NOFILE", OPEN_FILES),
        ("RLIMIT_CORE", 0),
    ]


def _read(
    process: subprocess.Popen[bytes], wall_s: float, silence_s: float, output_bytes: int
) -> tuple[bytes, str]:
    assert process.stdout is not None
    read = bytearray()
    deadline = time.monotonic() + wall_s
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(min(left, silence_s)):
                return bytes(read), "silence" if left > silence_s else "time"
            piece = os.read(process.stdout.fileno(), 1 << 16)
            if not piece:
                return bytes(read), "exit"
            read += piece
            if len(read) > output_bytes:
                return bytes(read[:output_bytes]), "output"
            if len(piece) < SMALL_PIECE_BYTES:
                # A thousand short lines would wake this thread a thousand times.
                time.sleep(PAUSE_S)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """bwrap's own death is that of its namespace; without one, the session's group has to do."""
    # Not process.kill(): that reaps, and a number once reaped may be another group's.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
