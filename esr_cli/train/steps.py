"""The steps of a run: rollouts of the student, teacher scores, an update; each phase is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from esr_cli.assembly.workers import Parts
from esr_cli.config import TrainConfig
from esr_cli.runs.metrics import Clock
from esr_cli.student.student import Update
from esr_cli.types import Rollout, without_ends


class Steps:
    """Takes training steps.

    `fresh` is whether the rollouts of the last step were sampled from the weights it updated.
    """

    def __init__(self, parts: Parts, task: Any, config: TrainConfig) -> None:
        self.parts, self.task, self.config = parts, task, config
        self.fresh, self._begun = True, -1

    def take(
        self, step: int, limits: Sequence[int], next_limits: Sequence[int] = ()
    ) -> tuple[list[Rollout], Update, dict[str, float]]:
        """Takes one step; returns its rollouts, the update, the seconds of each phase, and the MiB
        that went over a wire.

        `limits` are the maximal response lengths in tokens. If `next_limits` is given, the engine
        samples the next step's rollouts meanwhile, from the weights before this update.
        """
        clock = Clock("sync")
        self.fresh = self._begun != step
        if self.fresh:
            self._begin(step, limits, clock)
        with clock.phase("generate"):
            rollouts = self.parts.engine.finish(self.fresh)
        self._begun = -1
        if next_limits:
            self._begin(step + 1, next_limits, clock)
        trained = rollouts
        if not self.config.pair.train_ends:
            trained = [without_end(each, self.parts.sampling.stop_ids) for each in rollouts]
        with clock.phase("score"):
            scores = self.parts.teacher.score(trained)
        with clock.phase("train"):
            update = self.parts.student.update(trained, scores, step)
        return rollouts, update, clock.times() | self.parts.wire()

    def _begin(self, step: int, limits: Sequence[int], clock: Clock) -> None:
        with clock.phase("sync"):
            self.parts.engine.load_weights(self.parts.student.weights())
        prompts = self.task.train(step, self.config.prompts_per_step)
        with clock.phase("generate"):
            self.parts.engine.begin(prompts, self.parts.sampling.at(step, limits))
        self._begun = step


def without_end(rollout: Rollout, stop_ids: Sequence[int]) -> Rollout:
    """The rollout without the end-of-text tokens at its end."""
    ids = tuple(without_ends(rollout.response_ids, stop_ids))
    return replace(rollout, response_ids=ids, logprobs=rollout.logprobs[: len(ids)])
