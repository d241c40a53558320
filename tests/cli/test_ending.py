"""How `esr` ends: one line and an exit status, whatever is raised and wherever."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import INLINE, ROOT, SHORT, launch

from esr_cli.base import failures
from esr_cli.base.failures import Failure, Resumable
from esr_cli.cli import ending
from esr_cli.config import ConfigError

REPORTED = "send that file and the command (CONTRIBUTING.md)"


def ended_by(function, cwd) -> tuple[int, str]:
    """The exit status and the output of a command, run by `guard` in a process of its own."""
    output = cwd / "output"
    child = os.fork()
    if not child:
        status = 99
        try:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            os.environ["XDG_CACHE_HOME"] = str(cwd)
            ending.guard(function)
            status = 0
        except SystemExit as left:
            status = left.code
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), output.read_text()


def raising(error):
    def function():
        raise error

    return function


def recursing():
    recursing()


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (raising(KeyError("k")), "KeyError: 'k' (esr_cli/cli/ending.py:"),
        (raising(RuntimeError("first\nsecond")), "RuntimeError: first (esr_cli/"),
        (raising(MemoryError()), "MemoryError (esr_cli/"),
        (recursing, "RecursionError: maximum recursion depth exceeded"),
        (raising(AssertionError()), "AssertionError (esr_cli/"),
        (raising(OSError(errno.ENOSPC, "No space left", "x")), "OSError: [Errno 28] No space left"),
        (raising(UnicodeEncodeError("ascii", "é", 0, 1, "no")), "UnicodeEncodeError: 'ascii'"),
    ],
)
def test_any_exception_is_one_line_that_names_it_its_place_and_its_traceback(
    function, line, tmp_path
):
    status, output = ended_by(function, tmp_path)
    assert status == 1 and output.startswith(f"esr: {line}"), output
    assert output.count("\n") == 1 and "Traceback" not in output
    [log] = (tmp_path / "esr" / "failures").iterdir()
    assert str(log) in output and "Traceback" in log.read_text()
    assert any(word in output for word in (REPORTED, "free some space", "more memory"))


def test_an_error_of_the_users_is_one_line_even_with_line_breaks_in_the_value(tmp_path):
    status, output = ended_by(raising(ConfigError("a=1\n2\x1b[31m: give 1")), tmp_path)
    assert (status, output) == (2, "esr: a=1\\n2\\x1b[31m: give 1\n")
    status, output = ended_by(raising(ConfigError(f"a={'1' * 9999}: give 1")), tmp_path)
    assert status == 2 and len(output) < 2000 and output.endswith(": give 1\n")
    assert ended_by(raising(Failure("no space: free some")), tmp_path)[0] == 1


def test_the_traceback_of_a_run_is_in_its_log_and_the_way_to_resume_on_a_line(tmp_path):
    def function():
        failures.log_to(tmp_path / "esr.log")
        raise Resumable("go on with: esr train resume=x") from ValueError("odd")

    status, output = ended_by(function, tmp_path)
    first, second, rest = output.split("\n")
    assert status == 1 and first.startswith("esr: ValueError: odd; the traceback is in"), output
    assert str(tmp_path / "esr.log") in first and second.startswith("go on with") and not rest
    assert "ValueError: odd" in (tmp_path / "esr.log").read_text()


def test_threads_objects_loggers_and_ends_print_no_traceback(tmp_path):
    class Odd:
        def __del__(self):
            raise ValueError("of an object")

    def function():
        thread = threading.Thread(target=raising(ValueError("of a thread")))
        thread.start()
        thread.join()
        Odd()
        logger = logging.getLogger("of a library")
        logger.addHandler(logging.StreamHandler(sys.stderr))
        try:
            raise ValueError("of a logger")
        except ValueError:
            logger.exception("a library's")
        logger.warning("two values: %d %d", 1)
        raise KeyboardInterrupt

    status, output = ended_by(function, tmp_path)
    assert status == 130 and output.endswith("esr: interrupted\n"), output
    assert "a thread failed: ValueError: of a thread (" in output
    assert "ignored: ValueError: of an object (" in output
    assert "a library's\nValueError: of a logger (" in output
    assert "Traceback" not in output and "Logging error" not in output


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("--help | head -1; exit ${PIPESTATUS[0]}", (0, 1), ""),
        ("--help > /dev/full", (1,), "No space left on device"),
        ("--help >&-", (0,), ""),
        ("trian 2>&-", (2,), ""),
        ("train --foo", (2,), "unrecognized arguments: --foo"),
        ("completion words", (2,), "name bash or zsh"),
        ("train hydra/launcher=odd", (2,), "hydra/launcher=odd: no such option"),
        ("train $'loss.temperature=\\xff'", (2,), "loss.temperature"),
        ("train \"tune.schedule='a\n\033[31mb'\"", (2,), "tune.schedule=a\\n\\x1b[31mb: choose"),
    ],
)
def test_streams_and_flags(command, status, message, tmp_path):
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m esr_cli.cli {command}"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode in status, done.stderr
    assert message in done.stderr and done.stderr.count("\n") == bool(message), done.stderr


def test_a_run_whose_output_is_closed_says_how_it_goes_on(tmp_path):
    run = f"'{sys.executable}' -m esr_cli.cli train {' '.join((*INLINE, *SHORT))} steps=30"
    done = subprocess.run(
        ["bash", "-c", f"{run} save_every=1 run_dir=run | head -9; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.count("\n") == 2, done.stderr
    assert done.stderr.startswith("esr: nobody reads the output any more\n"), done.stderr
    assert "esr train resume=run" in done.stderr
    log = (tmp_path / "run" / "esr.log").read_text()
    assert "Traceback" not in log and "failed" not in log


def test_ctrl_c_at_any_moment_of_the_start_is_one_line(tmp_path):
    for delay in (0.1, 0.3, 0.6):
        process = launch("train", "rollout=eager", "--cfg", "job", cwd=tmp_path)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=30)[1]
        assert process.returncode in (0, 130, -signal.SIGINT), stderr
        assert stderr in ("", "esr: interrupted\n"), stderr
