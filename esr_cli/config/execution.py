"""Settings of the worker processes and their devices."""

from __future__ import annotations

import re
from dataclasses import dataclass

from esr_cli.config.errors import need, need_choice

PLACES = ("process", "inline")


@dataclass
class ExecutionConfig:
    """`engine` and `teacher` run `inline` or each in its own `process`.

    `restarts` is the maximum number of times that a run restarts a worker that died. `device` is
    `auto` (CUDA if available), `cpu`, `cuda`, or a specific GPU such as `cuda:1`.
    """

    engine: str = "process"
    teacher: str = "process"
    restarts: int = 3
    device: str = "auto"
    teacher_device: str = "auto"

    def __post_init__(self) -> None:
        need_choice("execution.engine", self.engine, PLACES)
        need_choice("execution.teacher", self.teacher, PLACES)
        for key in ("device", "teacher_device"):
            wanted = getattr(self, key)
            named = re.fullmatch(r"auto|cpu|cuda(:\d+)?", wanted)
            need(bool(named), f"execution.{key}", wanted, "give auto, cpu, cuda or cuda:1")
        need(self.restarts >= 0, "execution.restarts", self.restarts, "give 0 or more")
