"""Samples whole responses to training prompts during a run, and measures how they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from esr_cli.assembly.data import Task
from esr_cli.base.statistics import repeats, share_interval
from esr_cli.benchmarks import catalog
from esr_cli.config import BenchmarkConfig, TrainConfig
from esr_cli.models.spelling import response_text
from esr_cli.types import Engine, Grade, Grader, Rollout, Sampling

# The kind of benchmark whose grader reads the responses to a task's prompts.
GRADED = {"lab": "lab", "words": "words", "math": "math", "tools": "tools"}


class Watcher:
    """Asks the engine of a run for whole responses, sampled as its rollouts but for their length.

    Each watch takes other prompts of the task, set by the step. Their seeds are of their own, so
    that no rollout changes.
    """

    def __init__(
        self, config: TrainConfig, task: Task, tokenizer: Any, sampling: Sampling
    ) -> None:  # fmt: skip
        self._config, self._task, self._tokenizer = config, task, tokenizer
        self._sampling = replace(
            sampling, max_tokens=config.pair.max_response_tokens, samples=1, purpose="watch"
        )
        kind = GRADED.get(config.task.name)
        self._grader: Grader | None = None
        if kind:
            self._grader = catalog.grader(BenchmarkConfig(kind=kind), config.sandbox, print)

    def __call__(self, engine: Engine, step: int) -> dict[str, Any]:
        """A row of watch.jsonl on the weights that the engine holds, those after `step` updates.

        Shares have a 95 % interval (`_low`, `_high`). `boxed` and `accuracy` are over the responses
        to questions with a reference answer, whose number is `graded`; without any they are absent.
        """
        prompts = self._task.train(step, min(self._config.watch.prompts, self._task.available))
        rollouts = engine.generate(prompts, self._sampling.at(step))
        ids = [rollout.response_ids for rollout in rollouts]
        row: dict[str, Any] = {"step": step, "responses": len(rollouts)}
        row |= _share("ended", [rollout.finish == "stop" for rollout in rollouts])
        row |= _share("repeats", [repeats(each) for each in ids])
        row["length_mean"] = sum(map(len, ids)) / len(ids)
        if grades := self._grades(rollouts):
            row["graded"] = len(grades)
            if all("boxed" in grade.also for grade in grades):
                row |= _share("boxed", [grade.also["boxed"] for grade in grades])
            row |= _share("accuracy", [grade.correct for grade in grades])
        return row

    def close(self) -> None:
        """Ends the grader's processes."""
        if self._grader:
            self._grader.close()

    def _grades(self, rollouts: Sequence[Rollout]) -> list[Grade]:
        """Verdicts on the responses to questions with a reference answer that can be judged."""
        stops, pairs = self._sampling.stop_ids, []
        for rollout in rollouts if self._grader else ():
            reference = self._task.reference(rollout.prompt.id)
            if reference is not None:
                pairs.append(
                    (response_text(self._tokenizer, rollout.response_ids, stops), reference)
                )
        grades = self._grader.grade(pairs) if self._grader and pairs else []
        return [grade for grade in grades if grade.judged]


def _share(name: str, holds: Sequence[bool]) -> dict[str, float]:
    value, low, high = share_interval(sum(holds) / len(holds), len(holds))
    return {name: value, f"{name}_low": round(low, 6), f"{name}_high": round(high, 6)}
