"""A worker for tests. Its process imports this module, and neither pytest nor transformers."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import torch


class Counter:
    """A worker that adds tensors, raises, or kills its process."""

    def __init__(self, start: float, more: tuple[int, ...] = ()) -> None:
        if start < 0:
            raise ValueError("starts below zero")
        self.total = torch.tensor([start])

    def set(self, value: torch.Tensor) -> None:
        """Stores a copy."""
        self.total = value.clone()

    def plus(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of the stored value and this one."""
        return self.total + value

    def fail(self) -> None:
        """Raises."""
        raise KeyError("no such thing")

    def say(self, text: str) -> None:
        """Prints through Python, and to the file descriptor as a C library would."""
        print(text, flush=True)
        os.write(2, b"from below\n")

    def sleep(self, seconds: float) -> None:
        """Blocks."""
        time.sleep(seconds)

    def count(self, numbers: tuple[int, ...]) -> int:
        """The number of numbers."""
        return len(numbers)

    def compute(self) -> None:
        """Computes for seconds without letting any other thread of this process run."""
        sum(range(200_000_000))

    def wait_for_a_stopped_child(self, pid_file: str) -> None:
        """Waits for a process of its own that is stopped, as an engine with processes may."""
        child = subprocess.Popen(["sleep", "600"])
        os.kill(child.pid, signal.SIGSTOP)
        Path(pid_file).write_text(str(child.pid))
        child.wait()

    def die(self) -> None:
        """Kills its process."""
        os.kill(os.getpid(), signal.SIGKILL)
