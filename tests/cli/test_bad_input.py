"""A part of `scripts/try_bad_input.py`: bad settings, broken run folders and broken models."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT


def test_bad_input_ends_in_a_line_without_traceback_or_hang():
    # In a process of its own, because it forks and must not have threads.
    command = [sys.executable, "scripts/try_bad_input.py", "short=true", "limit_s=300"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = [int(line.rpartition(" ")[2]) for line in done.stdout.splitlines() if "status" in line]
    assert sum(counts) >= 30, done.stdout
