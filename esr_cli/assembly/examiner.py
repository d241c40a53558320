"""The benchmarks of a training run: checked before it starts, evaluated when they are due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from esr_cli.assembly import preflight
from esr_cli.benchmarks import catalog
from esr_cli.benchmarks.exam import Evaluation, judge
from esr_cli.config import TrainConfig
from esr_cli.types import Engine, Prompt


@dataclass(frozen=True)
class Asked:
    """The tokens of each prompt of a benchmark, and the number and limit of the responses to it."""

    prompts: tuple[int, ...]
    samples: int
    max_tokens: int


class Examiner:
    """Evaluates every benchmark with the engine that the run already holds.

    Raises `ConfigError` if the data or the sandbox of a benchmark is missing, or if its prompts
    and responses exceed the context.
    """

    def __init__(
        self, config: TrainConfig, tokenizer: Any, stop_ids: tuple[int, ...],
        warn: Callable[[str], None],
    ) -> None:  # fmt: skip
        chosen = catalog.load_all(config.benchmark, config.data_dir, config.limit)
        student = config.pair.student
        self._exams = [
            preflight.exam(
                each, student, tokenizer, config.seed, stop_ids, config.pair.stop == "student"
            )
            for each in chosen
        ]
        preflight.check_room(self._exams, config.pair.context_tokens, "pair.context_tokens")
        self._graders = {
            each.name: catalog.grader(each.config, config.sandbox, warn) for each in chosen
        }

    def first_prompts(self) -> dict[str, Prompt]:
        """The first prompt of each benchmark, by its name."""
        return {each.benchmark.name: each.prompts[0] for each in self._exams}

    def asked(self) -> dict[str, Asked]:
        """What an evaluation asks, by benchmark."""
        return {
            each.benchmark.name: Asked(
                tuple(len(prompt.student_ids) for prompt in each.prompts),
                each.sampling.samples, each.sampling.max_tokens,
            )
            for each in self._exams
        }  # fmt: skip

    def __call__(self, engine: Engine, step: int) -> list[Evaluation]:
        """One evaluation per benchmark, of the weights that the engine holds."""
        return [
            judge(each.benchmark, self._graders[each.benchmark.name], each.ask(engine, step), step)
            for each in self._exams
        ]

    def close(self) -> None:
        """Ends the graders' processes."""
        for grader in self._graders.values():
            grader.close()
