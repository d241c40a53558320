"""Engine and teacher behind workers, with the same interfaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from esr_cli.base import process
from esr_cli.distill.head import Head
from esr_cli.execution.restarting import WorkerError
from esr_cli.execution.worker import Worker
from esr_cli.types import Placed, Prompt, Rollout, Sampling, Scores, StreamingEngine, in_order

Weights = dict[str, torch.Tensor]
# Prompts, and how to sample their responses.
Batch = tuple[list[Prompt], Sampling]


def sizes(batches: Sequence[Batch]) -> list[int]:
    """The number of responses of each batch."""
    return [len(prompts) * sampling.samples for prompts, sampling in batches]


class RemoteEngine:
    """An `Engine` behind a worker, which holds a `RestorableEngine`.

    The weights that it is given have a version, which counts up; it returns the version with its
    rollouts, so that a response from other weights than the last is never used. `replica` counts
    the engines of a run.
    """

    def __init__(self, worker: Worker, replica: int = 0) -> None:
        self.worker, self.replica = worker, replica
        self._sent = dict[str, torch.Tensor]()
        # Shared with the engine, where it shares memory: it changes there as the weights do.
        self._version = torch.zeros((), dtype=torch.int64).share_memory_()
        self._wanted = 0
        # What is sampled, at least how many responses at a time, and those received so far.
        self._batches: list[Batch] = []
        self._least, self._received = 0, dict[int, Rollout]()

    def begin(self, batches: Sequence[Batch], parts: int = 1) -> None:
        """Starts sampling without waiting; the responses come in up to that many `parts`.

        No other call than `receive` is allowed before all have come.
        """
        self._wanted = int(self._version)
        self._batches, self._received = list(batches), {}
        self._least = -(-sum(sizes(batches)) // parts)
        self._begin_part()

    def _begin_part(self) -> None:
        self.worker.begin("generate", self._batches, self._least, list(self._received))

    @property
    def complete(self) -> bool:
        """Whether all responses have been received."""
        return len(self._received) == sum(sizes(self._batches))

    def receive(self, fresh: bool = True) -> list[Rollout]:
        """Waits for responses that have ended; the engine goes on with the others at once.

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
        part = {at: replace(each, replica=self.replica) for at, each in found}
        self._received |= part
        if not self.complete:
            self._begin_part()
        return list(part.values())

    def rollouts(self) -> list[list[Rollout]]:
        """The rollouts of each batch, in the order of its prompts, once they are `complete`."""
        found = iter(in_order(self._received.items()))
        return [[next(found) for _ in range(size)] for size in sizes(self._batches)]

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
    """A `StreamingEngine` that keeps references to the weights that it was given.

    They are in memory shared with the trainer, so it sees each optimizer step. Sending some hundred
    tensors through the pipe again would cost more than reading them.
    """

    def __init__(self, engine: StreamingEngine) -> None:
        self.engine, self._weights = engine, dict[str, torch.Tensor]()
        self._version, self._loaded = torch.zeros((), dtype=torch.int64), 0
        self._running: Iterator[list[Placed]] | None = None

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

    def generate(
        self, batches: Sequence[Batch], least: int, received: Sequence[int]
    ) -> tuple[int, list[Placed]]:
        """The version of the weights, and at least `least` rollouts, if as many are left.

        Places count through all batches. Those in `received` have been returned by calls before
        this one: by this engine, or by one that died, whose responses are then sampled again.
        """
        if not received or self._running is None:
            self._running = self._sampled(batches)
        known, part = set(received), list[Placed]()
        for ended in self._running:
            part += [each for each in ended if each[0] not in known]
            if len(part) >= least:
                break
        if len(known) + len(part) == sum(sizes(batches)):
            # Frees the memory of the last batch.
            self._running = None
        return self._loaded, part

    def _sampled(self, batches: Sequence[Batch]) -> Iterator[list[Placed]]:
        first = 0
        for batch, size in zip(batches, sizes(batches), strict=True):
            for ended in self.engine.finished(*batch):
                yield [(first + place, rollout) for place, rollout in ended]
            first += size


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
