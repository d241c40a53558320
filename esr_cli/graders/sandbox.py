"""Runs a Python program on untrusted code in bubblewrap: `Sandbox().run(source, stdin)`.

Protections against hostile code:

- The code sees `/usr`, the libraries, the interpreter and numpy, all read-only, and two devices.
  There is no home, `/etc`, `/proc` or `/tmp`, and no writable path: bubblewrap cannot bound the
  number of files of a tmpfs, and a million of them cost a GiB of kernel memory.
- It has separate namespaces for users, processes, network, IPC and host name, which cannot be
  nested, and no capabilities. If esr runs as root, each slot has its own user (60000 and up),
  because process limits do not apply to root. The environment holds a few fixed variables.
- rlimits bound CPU time, address space, threads, open files, file size and core dumps. A filter of
  system calls (`seccomp.py`) refuses new processes and memory outside the address space.
- The parent reads a bounded amount and kills everything after a CPU time, in total or without
  output, and after a much longer time by the clock (`watch.py`). When the namespace's first process
  dies, the kernel kills all others, so no daemon outlives a run.

Not covered: kernel vulnerabilities, and side channels through CPU time, caches and memory bandwidth
shared with the trainer. There is no control group, so the worst case in memory is 1 GiB per run
(without a filter: 1 GiB times the allowed processes), times the workers. Readable files under /usr
are readable inside. `none` (explicit only) keeps only the limits: files, network, other processes
and the parent's environment are open to the code, and a daemon can outlive it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from esr_cli.graders import interpreter, seccomp, watch

FIRST_USER = 60000
MEMORY_BYTES = 1 << 30
PROCESSES = 16
FILE_BYTES = 8 << 20
OPEN_FILES = 32

# Runs inside the sandbox before the program. Its arguments are (resource, limit) pairs as text and
# the program.
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
    "PYTHONHASHSEED": "0",  # makes verdicts that depend on set order reproducible
}
INSIDE = {"PYTHONPATH": "/site", "LD_LIBRARY_PATH": "/python/lib"}
NAMESPACES = (
    "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
    "--cap-drop", "ALL", "--hostname", "sandbox",
)  # fmt: skip
DEVICES = ("--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/urandom", "/dev/urandom")
READ_ONLY_ROOT = ("--remount-ro", "/", "--chdir", "/")
# The kernel's limit on CPU time comes after that of `watch`, which also counts other processes.
CPU_GRACE_S = 2
KINDS = ("bubblewrap", "none")


@dataclass(frozen=True)
class Outcome:
    """The standard output of a run, and how it ended.

    `end` is `exit` (`status` as in `subprocess`), `time`, `silence` or `output` (over the limit).
    `output` holds everything read until then.
    """

    output: bytes
    end: str
    status: int


def check(kind: str = "bubblewrap") -> str | None:
    """Returns why this sandbox cannot run here, with the remedy, or None if it can."""
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
    message = (done.stderr.strip().splitlines() or ["no error message"])[-1]
    return (
        f"bubblewrap does not run here ({message}): allow unprivileged user namespaces (sysctl "
        "kernel.unprivileged_userns_clone=1, user.max_user_namespaces, "
        "kernel.apparmor_restrict_unprivileged_userns=0; in Docker --security-opt "
        "seccomp=unconfined), or sandbox=none at your risk"
    )


class Sandbox:
    """Executes up to `slots` runs at a time, from any thread; see the module docstring."""

    def __init__(self, kind: str = "bubblewrap", slots: int = 1) -> None:
        problem = check(kind)
        if problem:
            raise RuntimeError(problem)
        if kind == "none":
            message = "sandbox=none: generated code runs unprotected, with your permissions"
            warnings.warn(message, stacklevel=3)
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
        cpu_s: float,
        silence_s: float,
        output_bytes: int,
        memory_bytes: int = MEMORY_BYTES,
    ) -> Outcome:
        """Runs the program for `cpu_s` CPU seconds, and `silence_s` of them without output.

        A program that waits ends after `watch.WALL_FACTOR` times as long by the clock.
        """
        slot = self._slots.get()
        try:
            limits = _limits(int(cpu_s) + CPU_GRACE_S, memory_bytes)
            with self._started(source, stdin, slot, limits) as process:
                output, end = watch.read(process, cpu_s, silence_s, output_bytes)
                if end == "exit":
                    # Standard output is closed, so a process that still runs has no more output.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=1.0)
            return Outcome(output, end, process.returncode)
        finally:
            self._slots.put(slot)

    def stop(self) -> None:
        """Kills the current runs; each `run` returns the output it has read."""
        for process in list(self._running):
            _kill(process)

    @contextlib.contextmanager
    def _started(
        self, source: str, stdin: bytes, slot: int, limits: list[tuple[str, int]]
    ) -> Iterator[subprocess.Popen[bytes]]:
        with contextlib.ExitStack() as stack:
            stdin_file = stack.enter_context(tempfile.TemporaryFile())
            stdin_file.write(stdin)
            stdin_file.seek(0)
            if self._kind == "none":
                command, options = [sys.executable], stack.enter_context(_nowhere())
            else:
                command, options = stack.enter_context(_bubblewrap(slot))
            command += ["-s", "-S", "-B", "-c", LIMITER, repr(limits), source]
            process = subprocess.Popen(
                command,
                stdin=stdin_file,
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
def _nowhere() -> Iterator[dict[str, Any]]:
    """Yields options for Popen without isolation, in a folder that is removed once it is entered.

    The program can leave nothing in it, whoever is killed.
    """
    folder = tempfile.mkdtemp(prefix="esr-sandbox-")
    try:
        yield {"cwd": folder, "env": ENVIRONMENT}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _bubblewrap(slot: int) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Yields bwrap's command line up to the interpreter, and the options for Popen."""
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
    return [found, *NAMESPACES, *interpreter.binds(), *DEVICES, *READ_ONLY_ROOT]


def _as_user(slot: int) -> dict[str, Any]:
    options: dict[str, Any] = {"env": {**ENVIRONMENT, **INSIDE}, "cwd": "/"}
    if os.geteuid():
        return options
    return {**options, "user": FIRST_USER + slot, "group": FIRST_USER + slot, "extra_groups": []}


def _limits(cpu_s: int, memory_bytes: int) -> list[tuple[str, int]]:
    """Returns rlimits to set inside, where NPROC counts per namespace (Linux 5.14) or per user."""
    return [
        ("RLIMIT_CPU", cpu_s),  # of each process
        ("RLIMIT_AS", memory_bytes),
        ("RLIMIT_NPROC", PROCESSES),
        ("RLIMIT_FSIZE", FILE_BYTES),
        ("RLIMIT_NOFILE", OPEN_FILES),
        ("RLIMIT_CORE", 0),
    ]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills the process group; if bwrap dies, the kernel kills its entire namespace."""
    # Not process.kill(): that reaps the process, and a reaped pid may belong to another group.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
