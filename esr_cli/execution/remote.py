"""Engine and teacher as the training loop sees them, wherever they live."""

from __future__ import annotations

import torch

from esr_cli.distill.head import Head
from esr_cli.execution.worker import Worker
from esr_cli.types import Prompt, Rollout, Sampling, Scores


class RemoteEngine:
    """An `Engine` behind a worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """See `Engine.generate`."""
        return self.worker.call("generate", prompts, sampling)

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """See `Engine.load_weights`."""
        self.worker.call("load_weights", weights)


class RemoteTeacher:
    """A `Teacher` behind a worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def head(self) -> Head | None:
        """See `Teacher.head`."""
        return self.worker.call("head")

    def score(self, rollouts: list[Rollout]) -> Scores:
        """See `Teacher.score`."""
        return self.worker.call("score", rollouts)
