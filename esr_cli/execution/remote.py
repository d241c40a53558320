"""Engine and teacher behind workers, with the same interfaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from esr_cli.base import process
from esr_cli.distill.head import Head
from esr_cli.execution.restarting import WorkerError
from esr_cli.execution.worker import Worker
from esr_cli.types import Engine, Prompt, Rollout, Sampling, Scores

Weights = dict[str, torch.Tensor]
# Prompts, and how to sample their responses.
Batch = tuple[list[Prompt], Sampling]


class RemoteEngine:
    """An `Engine` behind a worker, which holds a `RestorableEngine`.

    The weights that it is given have a version, which counts up; it returns the version with its
    rollouts, so that a response from other weights than the last is never used.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker, self._sent = worker, dict[str, torch.Tensor]()
        # Shared with the engine, where it shares memory: it changes there as the weights do.
        self._version = torch.zeros((), dtype=torch.int64).share_memory_()
        self._wanted = 0

    def begin(self, batches: Sequence[Batch]) -> None:
        """Starts sampling without waiting. No other call is allowed before `finish`."""
        self._wanted = int(self._version)
        self.worker.begin("generate", list(batches))

    def finish(self, fresh: bool = True) -> list[list[Rollout]]:
        """Waits for the rollouts of each batch that `begin` started.

        Raises `WorkerError` if the engine died and the trainer's weights are not `fresh`, but have
        changed since: the engine reads them where they are, so it would sample other rollouts. Also
        raises it if the rollouts are from other weights than the last that the engine was given.
        """
        version, found = self.worker.finish(fresh or not self.worker.shares_memory)
        if version != self._wanted:
            raise WorkerError(
                f"the {self.worker.name} sampled with weights of version {version}, and not with "
                f"the last that it was given (version {self._wanted})"
            )
        return found

    def begin_load(self, weights: Weights, share: Callable[[Worker, Weights], Any]) -> None:
        """Starts to load weights. Tensors in the same memory as last time are not sent again.

        `share` makes of the weights what a worker that shares no memory is sent.
        """
        self._version += 1
        if not self.worker.shares_memory:
            self.worker.begin("load_weights", share(self.worker, weights), self._version.clone())
        # Holds the sent tensors, so that no other tensor can reuse their addresses.
        elif _addresses(weights) == _addresses(self._sent):
            self.worker.begin("load_again")
        else:
            self._sent = {}
            self.worker.begin("load_weights", weights, self._version)
            self._sent = weights

    def finish_load(self) -> None:
        """Waits until the engine has loaded the weights."""
        self.worker.finish()


class RestorableEngine:
    """An `Engine` that keeps references to the weights that it was given.

    They are in memory shared with the trainer, so it sees each optimizer step. Sending some hundred
    tensors through the pipe again would cost more than reading them.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self._weights = engine, dict[str, torch.Tensor]()
        self._version, self._loaded = torch.zeros((), dtype=torch.int64), 0

    def load_weights(self, weights: Weights, version: torch.Tensor) -> None:
        """See `Engine.load_weights`; `version` is read whenever the weights are."""
        self._weights, self._version = weights, version
        self.load_again()

    def load_again(self) -> None:
        """Loads the present values of the weights that were given last."""
        self._loaded = int(self._version)
        self.engine.load_weights(self._weights)
        # The trainer may move its weights once this returns.
        process.synchronize()

    def close(self) -> None:
        """Ends what the engine has started."""
        if close := getattr(self.engine, "close", None):
            close()

    def generate(self, batches: Sequence[Batch]) -> tuple[int, list[list[Rollout]]]:
        """The version of the weights, and the rollouts of each batch; see `Engine.generate`."""
        return self._loaded, [self.engine.generate(*batch) for batch in batches]


def _addresses(weights: Weights) -> dict[str, int]:
    return {name: tensor.data_ptr() for name, tensor in weights.items()}


class RemoteTeacher:
    """A `Teacher` behind a worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def head(self) -> Head | None:
        """See `Teacher.head`."""
        return self.worker.call("head")

    def begin(self, rollouts: list[Rollout]) -> None:
        """Starts scoring without waiting. No other call is allowed before `finish`."""
        self.worker.begin("score", rollouts)

    def finish(self) -> Scores:
        """Waits for the scores that `begin` started."""
        return self.worker.finish()
