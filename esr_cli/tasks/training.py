"""Training prompts from data: every row once per epoch, in an order set by seed and epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from esr_cli.base.words import counted
from esr_cli.config import ConfigError
from esr_cli.tasks.chat import Chat, prompt
from esr_cli.types import Prompt, Question


@dataclass(frozen=True)
class Manner:
    """The format of prompts: both models' chats, and the wording for templates without tools.

    `teachers` are the chats of further teachers, by the `source` of the questions that are theirs.
    """

    student: Chat
    teacher: Chat
    wording_in_text: str = ""
    teachers: Mapping[str, Chat] = field(default_factory=dict)

    def prompt(self, question: Question) -> Prompt:
        """The question as a prompt for the student and for its own teacher."""
        name = question.source if question.source in self.teachers else ""
        teacher = self.teachers.get(name, self.teacher)
        made = prompt(question, self.student, teacher, self.wording_in_text)
        return replace(made, teacher=name)


class DataTask:
    """Serves questions with unique ids as prompts; a step takes at most `available` prompts.

    `report` summarizes how many rows were kept and dropped.
    """

    def __init__(
        self, questions: Sequence[Question], manner: Manner, seed: int, report: str = ""
    ) -> None:
        self.questions, self.manner, self.seed, self.report = questions, manner, seed, report
        self.available = len(questions)
        self._references = {each.id: each.reference for each in questions}
        # A step can span two epochs.
        self._order = lru_cache(maxsize=2)(self._order_of)

    def train(self, step: int, count: int) -> list[Prompt]:
        """Returns the prompts of one step: `count` places from `step * count` over all epochs.

        A resumed run therefore continues with the same prompts. If a step spans two epochs, a
        question may occur twice. Raises `ConfigError` if `count` exceeds the number of questions.
        """
        total = len(self.questions)
        if count > total:
            raise ConfigError(
                f"prompts_per_step={count}: the task has {counted(total, 'prompt')}; lower it to "
                f"{total}, or raise rollouts_per_prompt"
            )
        places = (divmod(place, total) for place in range(step * count, (step + 1) * count))
        return [self.manner.prompt(self.questions[self._order(epoch)[at]]) for epoch, at in places]

    def reference(self, name: str) -> Any:
        """The reference answer of the question with this id; None if its row has none."""
        return self._references[name]

    def _order_of(self, epoch: int) -> list[int]:
        # Sorted by hashed ids, so the order does not depend on the order of files, and adding or
        # removing a row does not reorder the others.
        def key(index: int) -> bytes:
            name = f"{self.seed}/{epoch}/{self.questions[index].id}"
            return hashlib.blake2b(name.encode(), digest_size=16).digest()

        return sorted(range(len(self.questions)), key=key)
