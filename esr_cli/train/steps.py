"""The steps of a run: rollouts of the student, their scores, an update; with their seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from esr_cli.assembly.workers import Parts
from esr_cli.config import TrainConfig
from esr_cli.runs.metrics import Clock
from esr_cli.student.student import Update
from esr_cli.types import Rollout


class Steps:
    """Takes one step after another; `fresh` tells of the last one whether its rollouts were drawn
    from the very weights that it moved.
    """

    def __init__(self, parts: Parts, task: Any, config: TrainConfig) -> None:
        self.parts, self.task, self.config = parts, task, config
        self.fresh, self._begun = True, -1

    def take(
        self, step: int, limits: Sequence[int], ahead: Sequence[int] = ()
    ) -> tuple[list[Rollout], Update, dict[str, float]]:
        """One step with at most so many tokens of each response: its rollouts, the update, seconds.

        The engine draws those of the next step meanwhile where `ahead` gives their lengths: from
        the weights before this update.
        """
        clock = Clock("sync")
        self.fresh = self._begun != step
        if self.fresh:
            self._begin(step, limits, clock)
        with clock.phase("generate"):
            rollouts = self.parts.engine.finish()
        self._begun = -1
        if ahead:
            self._begin(step + 1, ahead, clock)
        with clock.phase("score"):
            scores = self.parts.teacher.score(rollouts)
        with clock.phase("train"):
            update = self.parts.student.update(rollouts, scores, step)
        return rollouts, update, clock.times()

    def _begin(self, step: int, limits: Sequence[int], clock: Clock) -> None:
        with clock.phase("sync"):
            self.parts.engine.load_weights(self.parts.student.weights())
        prompts = self.task.train(step, self.config.prompts_per_step)
        with clock.phase("generate"):
            self.parts.engine.begin(prompts, self.parts.sampling.at(step, limits))
        self._begun = step
