"""The steps of a run: rollouts of the student, teacher scores, an update; each phase is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from esr_cli.assembly.workers import Parts
from esr_cli.config import TrainConfig
from esr_cli.runs.metrics import Clock
from esr_cli.student.student import Update
from esr_cli.train.watching import Watching
from esr_cli.types import Rollout, without_ends

Limits = Sequence[int]
NOTHING: Mapping[int, Limits] = {}


class Steps:
    """Takes training steps; `watching` samples whole responses when they are due.

    `lag` is the number of updates between the weights that the rollouts of the last step were
    sampled from and those that it updated.
    """

    def __init__(
        self, parts: Parts, task: Any, config: TrainConfig, watching: Watching | None = None
    ) -> None:
        self.parts, self.task, self.config, self.watching = parts, task, config, watching
        self.lag = 0
        # The steps that the engine samples, those that it has sampled, and the step of its weights.
        self._begun: list[int] = []
        self._sampled: dict[int, tuple[int, list[Rollout]]] = {}
        self._loaded = -1

    def take(
        self, step: int, limits: Limits, ahead: Mapping[int, Limits] = NOTHING
    ) -> tuple[list[Rollout], Update, dict[str, float]]:
        """Takes one step; returns its rollouts, the update, the seconds of each phase, and the MiB
        that went over a wire.

        `limits` are the maximal response lengths in tokens. The rollouts of the steps `ahead`, with
        their limits, are sampled meanwhile, from the weights before this update.
        """
        clock = Clock("sync")
        if step not in self._sampled and step not in self._begun:
            self._begin(step, {step: limits}, clock)
        with clock.phase("generate"):
            if step not in self._sampled:
                self._collect(step)
            sampled_at, rollouts = self._sampled.pop(step)
        self.lag = step - sampled_at
        if ahead:
            self._begin(step, ahead, clock)
        trained = self._trained(rollouts)
        with clock.phase("score"):
            scores = self.parts.teacher.score(trained)
        with clock.phase("train"):
            update = self.parts.student.update(trained, scores, step)
        return rollouts, update, clock.times() | self.parts.wire()

    def _begin(self, step: int, wanted: Mapping[int, Limits], clock: Clock) -> None:
        """Has the engine sample for the `wanted` steps, with the weights before update `step`."""
        with clock.phase("generate"):
            if self._begun:
                self._collect(step)
        with clock.phase("sync"):
            self.parts.engine.load_weights(self.parts.student.weights())
        if self.watching and self.watching.due(step):
            # Now the engine is idle, and the student is what it holds: a call can be repeated.
            with clock.phase("watch"):
                self.watching(self.parts.engine, step)
        count, sampling = self.config.prompts_per_step, self.parts.sampling
        batches = [
            (self.task.train(each, count), sampling.at(each, limits))
            for each, limits in wanted.items()
        ]
        # Rollouts that are waited for now: a teacher apart begins with those that end first.
        early = step in wanted and self.parts.teacher.early
        seen = self._score_early if early else None
        with clock.phase("generate"):
            self.parts.engine.begin(batches, seen)
        self._begun, self._loaded = list(wanted), step

    def _trained(self, rollouts: list[Rollout]) -> list[Rollout]:
        """The rollouts as they are scored and trained."""
        if self.config.pair.train_ends:
            return rollouts
        return [without_end(each, self.parts.sampling.stop_ids) for each in rollouts]

    def _score_early(self, rollouts: list[Rollout]) -> None:
        self.parts.teacher.begin(self._trained(rollouts))

    def _collect(self, step: int) -> None:
        """Waits for the rollouts that the engine samples; `step` is the next to be updated."""
        found = self.parts.engine.finish(fresh=self._loaded == step)
        self._sampled |= {
            each: (self._loaded, rollouts)
            for each, rollouts in zip(self._begun, found, strict=True)
        }
        self._begun = []


def ahead_of(step: int, first: bool, config: TrainConfig, due: Callable[[int], bool]) -> list[int]:
    """The later steps whose rollouts are sampled from the weights before the update of `step`.

    Rollouts are never sampled across a step at which a checkpoint or an evaluation is `due`, so
    that a run resumed from a checkpoint samples the same; after it, or in the `first` step, all
    that may lag begin. A run stopped between two checkpoints resumes with fresh rollouts.
    """
    furthest, anew = step + config.rollout.staleness, first or due(step)
    found = []
    for later in range(step + 1, min(furthest + 1, config.steps)):
        if due(later):
            break
        if anew or later == furthest:
            found.append(later)
    return found


def without_end(rollout: Rollout, stop_ids: Sequence[int]) -> Rollout:
    """The rollout without the end-of-text tokens at its end."""
    ids = tuple(without_ends(rollout.response_ids, stop_ids))
    return replace(rollout, response_ids=ids, logprobs=rollout.logprobs[: len(ids)])
