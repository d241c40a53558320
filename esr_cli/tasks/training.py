"""Training prompts from data: every row once an epoch, in an order that seed and epoch decide."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from esr_cli.config import ConfigError
from esr_cli.tasks.chat import Chat, prompt
from esr_cli.types import Prompt, Question


@dataclass(frozen=True)
class Manner:
    """How questions are put: both models' chats, and the wording for templates without tools."""

    student: Chat
    teacher: Chat
    wording_in_text: str = ""


class DataTask:
    """Questions, each with an id of its own, as prompts; a step takes no more than are `available`.

    `report` says what became of the rows.
    """

    def __init__(
        self, questions: Sequence[Question], manner: Manner, seed: int, report: str = ""
    ) -> None:
        self.questions, self.manner, self.seed, self.report = questions, manner, seed, report
        self.available = len(questions)
        # Two epochs meet in a step.
        self._order = lru_cache(maxsize=2)(self._order_of)

    def train(self, step: int, count: int) -> list[Prompt]:
        """The prompts of one step: places `step * count` and on in the row of all epochs.

        So a resumed run goes on where it was. Where two epochs meet in a step, a question may
        stand in it twice. Raises `ConfigError` where a step asks for more than there is.
        """
        total = len(self.questions)
        if count > total:
            raise ConfigError(
                f"prompts_per_step={count}: the task has {total} prompts; lower it to {total}, or "
                "raise rollouts_per_prompt"
            )
        places = (divmod(place, total) for place in range(step * count, (step + 1) * count))
        asked = [self.questions[self._order(epoch)[place]] for epoch, place in places]
        manner = self.manner
        return [
            prompt(each, manner.student, manner.teacher, manner.wording_in_text) for each in asked
        ]

    def _order_of(self, epoch: int) -> list[int]:
        # By the ids alone: the order of files does not matter, and a row more or less does not
        # move the others.
        def key(index: int) -> bytes:
            name = f"{self.seed}/{epoch}/{self.questions[index].id}"
            return hashlib.blake2b(name.encode(), digest_size=16).digest()

        return sorted(range(len(self.questions)), key=key)


def worded(question: Question, wording: str) -> Question:
    """The instruction around the last turn of the user."""
    turns = list(question.messages)
    last = max(place for place, turn in enumerate(turns) if turn["role"] == "user")
    text = wording.replace("{problem}", turns[last]["content"])
    turns[last] = {**turns[last], "content": text}
    return replace(question, messages=tuple(turns))
