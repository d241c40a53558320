"""Prompts of a given length, made of a task's own, to time steps at the prompt sizes of other data.

The texts do not matter to the time of a step, so a made prompt is no question that makes sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain, cycle, islice
from typing import Any

from esr_cli.assembly.data import Task, make_task
from esr_cli.config import TrainConfig
from esr_cli.types import Prompt


class SizedTask:
    """Serves prompts of exactly `tokens` tokens for student and teacher each.

    A made prompt is the end of several prompts of the task in a row, so it ends as the chat
    templates do, and begins differently from others. No two steps share a prompt of the task unless
    the task repeats it.
    """

    def __init__(self, task: Task, tokens: int) -> None:
        self._task, self._tokens = task, tokens
        [first] = task.train(0, 1)
        shorter = min(len(first.student_ids), len(first.teacher_ids))
        self._parts = -(-tokens // shorter)
        # A step asks for the same prompts as the call that made them before it.
        self._made = lru_cache(maxsize=1)(self._make)

    def train(self, step: int, count: int) -> list[Prompt]:
        """Returns the prompts of one step, determined by the task's seed and the step."""
        return [*self._made(step, count)]

    def _make(self, step: int, count: int) -> list[Prompt]:
        return [self._joined(place) for place in range(step * count, (step + 1) * count)]

    def _joined(self, place: int) -> Prompt:
        numbers = range(place * self._parts, (place + 1) * self._parts)
        parts = [prompt for number in numbers for prompt in self._task.train(number, 1)]
        last = parts[-1]
        # Another teacher may have another tokenizer.
        alike = [each for each in parts if each.teacher == last.teacher]
        return replace(
            last,
            student_ids=self._end([each.student_ids for each in alike]),
            teacher_ids=self._end([each.teacher_ids for each in alike]),
        )

    def _end(self, parts: list[tuple[int, ...]]) -> tuple[int, ...]:
        """The last tokens of the parts in a row, from the beginning again if there are too few."""
        backwards = chain.from_iterable(reversed(part) for part in cycle(reversed(parts)))
        return tuple(islice(backwards, self._tokens))[::-1]


def bench_task(
    config: TrainConfig, tokenizers: Sequence[Any], prompt_tokens: int | None
) -> Task | SizedTask:
    """The configured task; its prompts have `prompt_tokens` if given. The student's tokenizer comes
    before the teacher's.

    Raises `ConfigError` if its data cannot be used.
    """
    student, teacher = tokenizers
    task = make_task(config, student, teacher)
    return task if prompt_tokens is None else SizedTask(task, prompt_tokens)
