"""Runs `esr` commands in forks of one process that has already imported torch and transformers.

A new interpreter imports them for about five seconds of CPU time, which is more than most commands
need themselves. A fork becomes the command's process: it has its own folder, environment and
streams. Workers are spawned from it as always.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = (
    "torch", "hydra", "peft", "matplotlib.figure", "rich.table", "esr_cli.train.command",
    "esr_cli.teacher.teacher", "esr_cli.rollout.eager", "esr_cli.lab.networks",
)  # fmt: skip


class ForkServer:
    """The process, started at the first command."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def run(self, arguments: list[str], cwd: Path, env: dict) -> subprocess.CompletedProcess:
        """Runs `esr ARGUMENTS` in a fork and waits for it."""
        if self.process is None:
            self._start()
        with tempfile.TemporaryDirectory() as folder:
            streams = [str(Path(folder, name)) for name in ("out", "error")]
            print(json.dumps([arguments, str(cwd), env, streams]), file=self.process.stdin)
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
            assert answer, f"the server of forks ended with status {self.process.wait()}"
            status = int(answer)
            out, error = (Path(path).read_text() for path in streams)
        return subprocess.CompletedProcess(["esr", *arguments], status, out, error)

    def _start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        atexit.register(self._end)

    def _end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def serve() -> None:
    """Runs a command in a fork for each line of the standard input, and prints its status."""
    from esr_cli.base import process

    # OpenMP reads the variable when torch loads it, as it does in a command.
    process.spin_briefly()
    for name in MODULES:
        importlib.import_module(name)
    # A collection in a fork would copy all pages of what was imported.
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _run(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(arguments: list[str], cwd: str, env: dict[str, str], streams: list[str]) -> None:
    """Runs `esr ARGUMENTS` in this process and ends it, as an interpreter does.

    Only the release of every imported object is left out, which takes a second.
    """
    status = 1
    try:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = ["esr", *arguments]
        for number, path in enumerate([os.devnull, *streams]):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
            os.dup2(descriptor, number)
            os.close(descriptor)
        from esr_cli.cli.main import main

        main()
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(bool(left.code))
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
