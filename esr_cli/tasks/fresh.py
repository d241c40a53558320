"""Training prompts that are made, not read: new ones at every step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from esr_cli.tasks.chat import Chat, prompt
from esr_cli.tasks.wording import placed
from esr_cli.types import Prompt, Question


class FreshTask:
    """Any number of prompts with both models' chat templates; `make` returns question number i.

    `report` describes them in one line.
    """

    available = sys.maxsize

    def __init__(
        self, make: Callable[[int], Question], report: str, student: Chat, teacher: Chat, seed: int,
        system: str | None = None,
    ) -> None:  # fmt: skip
        self.make, self.report, self.seed = make, report, seed
        self.student, self.teacher, self.system = student, teacher, system

    def train(self, step: int, count: int) -> list[Prompt]:
        """Returns new problems for one step, determined by seed and step alone."""
        first = self.seed * 10_000_000 + step * count
        put = (placed(self.make(first + i), self.system) for i in range(count))
        return [prompt(each, self.student, self.teacher) for each in put]

    def reference(self, name: str) -> Any:
        """The reference answer of the question with this id, which ends with its number."""
        return self.make(int(name.rpartition("-")[2])).reference
