"""Engine and teacher behind workers, inline or in a process, with the same interfaces."""

from __future__ import annotations

import torch

from esr_cli.base import process
from esr_cli.distill.head import Head
from esr_cli.execution.worker import Worker
from esr_cli.types import Engine, Prompt, Rollout, Sampling, Scores


class RemoteEngine:
    """An `Engine` behind a worker, which holds a `RestorableEngine`."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self._sent = worker, dict[str, torch.Tensor]()

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """See `Engine.generate`."""
        self.begin(prompts, sampling)
        return self.finish()

    def begin(self, prompts: list[Prompt], sampling: Sampling) -> None:
        """Starts sampling without waiting. No other call is allowed before `finish`."""
        self.worker.begin("generate", prompts, sampling)

    def finish(self, fresh: bool = True) -> list[Rollout]:
        """Waits for the rollouts that `begin` started.

        Raises `WorkerError` if the engine died and the trainer's weights are not `fresh`, but have
        changed since: the engine reads them where they are, so it would sample other rollouts.
        """
        return self.worker.finish(repeatable=fresh)

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """See `Engine.load_weights`. Tensors in the same memory as last time are not sent again."""
        # The engine must not read weights that a kernel is still writing.
        process.synchronize()
        # Holds the sent tensors, so that no other tensor can reuse their addresses.
        if _addresses(weights) == _addresses(self._sent):
            self.worker.call("load_again")
        else:
            self.worker.call("load_weights", weights)
            self._sent = weights


class RestorableEngine:
    """An `Engine` that keeps references to the weights that it was given.

    They are in memory shared with the trainer, so it sees each optimizer step. Sending some hundred
    tensors through the pipe again would cost more than reading them.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self._weights = engine, dict[str, torch.Tensor]()

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """See `Engine.load_weights`."""
        self._weights = weights
        self.load_again()

    def load_again(self) -> None:
        """Loads the present values of the weights that were given last."""
        self.engine.load_weights(self._weights)
        # The trainer may move its weights once this returns.
        process.synchronize()

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """See `Engine.generate`."""
        return self.engine.generate(prompts, sampling)


def _addresses(weights: dict[str, torch.Tensor]) -> dict[str, int]:
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
