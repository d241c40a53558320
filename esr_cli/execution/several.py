"""Workers of one role, and the engines of a run as one: work is split, and joined in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from esr_cli.base import process
from esr_cli.base.words import numbered
from esr_cli.execution.remote import Batch, RemoteEngine, Weights
from esr_cli.execution.seat import Seat
from esr_cli.execution.worker import Worker, place
from esr_cli.types import Prompt, Rollout, Sampling

MIB = 2**20
# The most parts in which an engine returns rollouts that end one after another. With more parts
# the teacher would read smaller batches, with fewer it would begin later.
PARTS = 4
# The most parts in which the responses of an evaluation are reported.
REPORTS = 50
# What takes rollouts that have ended.
Seen = Callable[[list[Rollout]], None]


def log_of(role: str, replica: int) -> str:
    """The file of a worker's output: `engine.log`, `engine-2.log`."""
    return f"{numbered(role, replica).replace(' ', '-')}.log"


def place_role(
    role: str, where: str, build: Callable[..., Any], settings: dict[str, Any],
    seats: Sequence[Seat], folder: Path, first: int = 0, **options: Any,
) -> list[Worker]:  # fmt: skip
    """A worker for each seat, not started yet, built by `build(**settings, seat=seat)`.

    They are numbered from `first` on. The output of each goes to a log in `folder`; see
    `RestartingWorker` for the options.
    """
    return [
        place(
            where, numbered(role, at), build, {**settings, "seat": seat}, seat,
            log=str(folder / log_of(role, at)), **options,
        )
        for at, seat in enumerate(seats, first)
    ]  # fmt: skip


class Workers:
    """Workers of one role, which start and end together."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = list(workers)

    def start(self) -> None:
        """Launches the workers without waiting for them."""
        for worker in self.workers:
            worker.start()

    def close(self) -> None:
        """Ends the workers."""
        for worker in self.workers:
            worker.close()

    def reset_peak(self) -> None:
        """Forgets the peak memory of each worker."""
        for worker in self.workers:
            worker.call("reset_peak")

    def peak_gib(self) -> float:
        """The peak memory of all workers in GiB; waits until they are built."""
        return sum(worker.call("peak_gib") for worker in self.workers)

    def take_notes(self) -> list[str]:
        """The notes of all workers since the last call; waits until they are built."""
        found = [line for worker in self.workers for line in worker.call("take_notes")]
        return list(dict.fromkeys(found))

    def take_wire_mib(self) -> float:
        """The MiB of tensors to and from all workers since the last call."""
        return sum(worker.take_wire_bytes() for worker in self.workers) / MIB


class Engines(Workers):
    """One or more engines that hold the same student, as one `Engine`.

    A response depends on its own seed alone, so it is the same whichever engine samples it. With
    `by_host` weights pass through memory of the host: to engines that do not see the trainer's GPU.
    """

    def __init__(self, workers: Sequence[Worker], by_host: bool = False) -> None:
        super().__init__(workers)
        self._by_host, self._host = by_host, dict[str, torch.Tensor]()
        self._engines = [RemoteEngine(worker, at) for at, worker in enumerate(workers)]
        self._begun: list[RemoteEngine] = []
        self._batches = 0
        self._seen: Seen | None = None

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """See `Engine.generate`."""
        self.begin([(prompts, sampling)])
        return self.finish()[0]

    def begin(self, batches: Sequence[Batch], seen: Seen | None = None, parts: int = PARTS) -> None:
        """Starts sampling without waiting; each engine gets some of the prompts of every batch.

        With `seen`, `finish` passes it rollouts that have ended while others are sampled, in up to
        that many `parts`; an engine then waits after each for `finish`.
        """
        self._begun, self._batches, self._seen = [], len(batches), seen
        shares = [_parts(*batch, len(self._engines)) for batch in batches]
        for engine, own in zip(self._engines, zip(*shares, strict=True), strict=True):
            if any(prompts for prompts, _ in own):
                engine.begin(own, parts if seen else 1)
                self._begun.append(engine)

    def finish(self, fresh: bool = True) -> list[list[Rollout]]:
        """The rollouts of each batch, in the order of its prompts; see `RemoteEngine.receive`."""
        busy, seen = list(self._begun), self._seen
        while busy:
            for engine in list(busy):
                part = engine.receive(fresh)
                if engine.complete:
                    busy.remove(engine)
                elif seen:
                    seen(part)
        found: list[list[Rollout]] = [[] for _ in range(self._batches)]
        for engine in self._begun:
            for batch, own in zip(found, engine.rollouts(), strict=True):
                batch += own
        return found

    def load_weights(self, weights: Weights) -> None:
        """See `Engine.load_weights`; all engines load at the same time."""
        weights = self._on_host(weights) if self._by_host else weights
        shared: list[Any] = []

        def share(worker: Worker, weights: Weights) -> Any:
            # The same place in memory serves every engine.
            if not shared:
                shared.append(worker.shared(weights))
            return shared[0]

        # Before an engine may read what a kernel is still writing.
        process.synchronize()
        for engine in self._engines:
            engine.begin_load(weights, share)
        for engine in self._engines:
            engine.finish_load()

    def _on_host(self, weights: Weights) -> Weights:
        """The weights in memory that all processes of this machine share, always the same."""
        if not self._host:
            self._host = {
                name: torch.empty(tensor.shape, dtype=tensor.dtype).share_memory_()
                for name, tensor in weights.items()
            }
        for name, tensor in weights.items():
            self._host[name].copy_(tensor)
        return self._host


class WatchedEngines:
    """Engines as one `Engine` that reports how far it is: `report(ended, all)` counts responses."""

    def __init__(self, engines: Engines, report: Callable[[int, int], None]) -> None:
        self.engines, self.report = engines, report
        self.load_weights = engines.load_weights

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """See `Engine.generate`."""
        ended, total = 0, len(prompts) * sampling.samples

        def seen(part: list[Rollout]) -> None:
            nonlocal ended
            ended += len(part)
            self.report(ended, total)

        self.report(0, total)
        self.engines.begin([(prompts, sampling)], seen, REPORTS)
        return self.engines.finish()[0]


def shares(count: int, parts: int) -> Iterator[slice]:
    """Consecutive slices of `count` things for `parts` workers, of equal size up to one."""
    for part in range(parts):
        yield slice(part * count // parts, (part + 1) * count // parts)


def _parts(prompts: list[Prompt], sampling: Sampling, count: int) -> list[Batch]:
    """A batch for each engine, with the limits of its prompts if each response has its own."""
    found = []
    for share in shares(len(prompts), count):
        first, last = share.start * sampling.samples, share.stop * sampling.samples
        own = replace(sampling, lengths=sampling.lengths[first:last])
        found.append((prompts[share], own))
    return found
