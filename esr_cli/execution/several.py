"""The engines of a run as one, and the teachers: the work is split, and joined in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from esr_cli.base import process
from esr_cli.base.words import numbered
from esr_cli.distill.head import Head
from esr_cli.execution.remote import Batch, RemoteEngine, RemoteTeacher, Weights
from esr_cli.execution.seat import Seat
from esr_cli.execution.worker import Worker, place
from esr_cli.types import (
    HiddenScores,
    LogitScores,
    Prompt,
    Rollout,
    Sampling,
    Scores,
    ScoresByTeacher,
)

MIB = 2**20
# Metrics of a teacher that count: those of several are added, of the others the largest is kept.
COUNTS = ("teacher/failed_requests", "wire/teacher_mib")


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
        self._engines = [RemoteEngine(worker) for worker in workers]
        self._begun: list[int] = []
        self._batches = 0

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """See `Engine.generate`."""
        self.begin([(prompts, sampling)])
        return self.finish()[0]

    def begin(self, batches: Sequence[Batch]) -> None:
        """Starts sampling without waiting; each engine gets some of the prompts of every batch."""
        self._begun = []
        parts = [_parts(*batch, len(self._engines)) for batch in batches]
        for replica, own in enumerate(zip(*parts, strict=True)):
            if any(prompts for prompts, _ in own):
                self._engines[replica].begin(own)
                self._begun.append(replica)
        self._batches = len(batches)

    def finish(self, fresh: bool = True) -> list[list[Rollout]]:
        """See `RemoteEngine.finish`; the rollouts of a batch are in the order of its prompts."""
        begun, self._begun = self._begun, []
        found: list[list[Rollout]] = [[] for _ in range(self._batches)]
        for replica in begun:
            for batch, own in zip(found, self._engines[replica].finish(fresh), strict=True):
                batch += [replace(each, replica=replica) for each in own] if replica else own
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


class Teachers(Workers):
    """One or more teachers that hold the same model, as one."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        super().__init__(workers)
        self._teachers = [RemoteTeacher(worker) for worker in workers]

        self._begun: list[RemoteTeacher] = []

    def head(self) -> Head | None:
        """See `Teacher.head`."""
        return self._teachers[0].head()

    def heads(self) -> dict[str, Head | None]:
        """The head by the name of its teacher, which is empty."""
        return {"": self.head()}

    def score(self, rollouts: list[Rollout]) -> Scores:
        """See `Teacher.score`; each teacher scores some of the rollouts."""
        self.begin(rollouts)
        return self.finish()

    def begin(self, rollouts: list[Rollout]) -> None:
        """Starts scoring without waiting. No other call is allowed before `finish`."""
        self._begun = []
        for teacher, share in zip(
            self._teachers, _shares(len(rollouts), len(self._teachers)), strict=True
        ):
            # One of them answers for a batch without rollouts.
            if rollouts[share] or (not rollouts and not self._begun):
                teacher.begin(rollouts[share])
                self._begun.append(teacher)

    def finish(self) -> Scores:
        """Waits for the scores that `begin` started."""
        return _joined([teacher.finish() for teacher in self._begun])


class TeachersByName(Workers):
    """Several models as teachers: each scores the rollouts whose prompts name it."""

    def __init__(self, teachers: Mapping[str, Teachers]) -> None:
        super().__init__([worker for each in teachers.values() for worker in each.workers])
        self._teachers = teachers

    def heads(self) -> dict[str, Head | None]:
        """The head of each teacher by its name; None if it returns logits."""
        return {name: each.head() for name, each in self._teachers.items()}

    def score(self, rollouts: list[Rollout]) -> ScoresByTeacher:
        """The scores of all rollouts; the teachers compute at the same time."""
        own: dict[str, list[Rollout]] = {}
        for rollout in rollouts:
            own.setdefault(rollout.prompt.teacher, []).append(rollout)
        for name, asked in own.items():
            self._teachers[name].begin(asked)
        parts = {name: self._teachers[name].finish() for name in own}
        return ScoresByTeacher(parts, _merged(part.metrics for part in parts.values()))


def _shares(count: int, parts: int) -> Iterator[slice]:
    """Consecutive slices of `count` things for `parts` workers, of equal size up to one."""
    for part in range(parts):
        yield slice(part * count // parts, (part + 1) * count // parts)


def _joined(parts: Sequence[Scores]) -> Scores:
    """The scores of consecutive parts of a batch as those of the batch."""
    if len(parts) == 1:
        return parts[0]
    hidden = all(isinstance(part, HiddenScores) for part in parts)
    states = [p.hidden_RD if isinstance(p, HiddenScores) else p.logits_RV for p in parts]
    # Each teacher may have a GPU of its own.
    states = [rows.to(states[0].device) for rows in states]
    aligned_R = None
    if any(part.aligned_R is not None for part in parts):
        aligned_R = torch.cat([
            torch.ones(len(rows), dtype=torch.bool) if part.aligned_R is None else part.aligned_R
            for part, rows in zip(parts, states, strict=True)
        ])  # fmt: skip
    kind = HiddenScores if hidden else LogitScores
    return kind(torch.cat(states), aligned_R, _merged(part.metrics for part in parts))


def _merged(of_teachers: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The metrics of several teachers as those of one."""
    merged: dict[str, float] = {}
    for metrics in of_teachers:
        for name, value in metrics.items():
            known = merged.get(name, 0.0)
            merged[name] = known + value if name in COUNTS else max(known, value)
    return merged


def _parts(prompts: list[Prompt], sampling: Sampling, count: int) -> list[Batch]:
    """A batch for each engine, with the limits of its prompts if each response has its own."""
    found = []
    for share in _shares(len(prompts), count):
        first, last = share.start * sampling.samples, share.stop * sampling.samples
        own = replace(sampling, lengths=sampling.lengths[first:last])
        found.append((prompts[share], own))
    return found
