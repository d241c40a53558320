"""Engine and teacher as the training loop sees them, wherever they live."""

from __future__ import annotations

import torch

from esr_cli.base import process
from esr_cli.distill.head import Head
from esr_cli.execution.worker import Worker
from esr_cli.types import Engine, Prompt, Rollout, Sampling, Scores


class RemoteEngine:
    """An `Engine` behind a worker, made by `RestorableEngine` of it."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self._sent = worker, dict[str, torch.Tensor]()

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """See `Engine.generate`."""
        self.begin(prompts, sampling)
        return self.finish()

    def begin(self, prompts: list[Prompt], sampling: Sampling) -> None:
        """Has rollouts drawn without waiting; nothing else may be asked before `finish`."""
        self.worker.begin("generate", prompts, sampling)

    def finish(self) -> list[Rollout]:
        """The rollouts that `begin` asked for."""
        return self.worker.finish()

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """See `Engine.load_weights`; the same memory as the last time is not sent again."""
        # What is only under way would be read half done.
        process.synchronize()
        # What was sent is held, so that no other tensor can come to lie in its place.
        if _places(weights) == _places(self._sent):
            self.worker.call("load_again")
        else:
            self.worker.call("load_weights", weights)
            self._sent = weights


class RestorableEngine:
    """An `Engine` that remembers where the weights lie that it was given.

    They lie in memory shared with the trainer, whose steps it sees; passing some hundred tensors
    through the pipe would cost more than reading them.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self._weights = engine, dict[str, torch.Tensor]()

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """See `Engine.load_weights`."""
        self._weights = weights
        self.load_again()

    def load_again(self) -> None:
        """Loads what the weights given last hold now."""
        self.engine.load_weights(self._weights)
        # The trainer may move its weights once this returns.
        process.synchronize()

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """See `Engine.generate`."""
        return self.engine.generate(prompts, sampling)


def _places(weights: dict[str, torch.Tensor]) -> dict[str, int]:
    return {name: tensor.data_ptr() for name, tensor in weights.items()}


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
