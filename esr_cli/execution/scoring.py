"""The teachers of a run as one: rollouts are shared, also in parts, and scores joined in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from esr_cli.distill.head import Head
from esr_cli.execution.remote import RemoteTeacher
from esr_cli.execution.several import Workers, shares
from esr_cli.execution.worker import Worker
from esr_cli.types import HiddenScores, LogitScores, Rollout, Scores, ScoresByTeacher

# Metrics of a teacher that count: those of several are added, of the others the largest is kept.
COUNTS = ("teacher/failed_requests", "teacher/prompt_tokens_read", "wire/teacher_mib")
# Rollouts, and their scores in the same order.
Part = tuple[list[Rollout], Scores]


class Teachers(Workers):
    """One or more teachers that hold the same model, as one.

    With `early` they may score some rollouts of a step while the engines sample the others.
    """

    def __init__(self, workers: Sequence[Worker], early: bool = False) -> None:
        super().__init__(workers)
        self.early = early
        self._teachers = [RemoteTeacher(worker) for worker in workers]
        # What the teachers compute, and what they have computed since the last `finish`.
        self._begun: list[tuple[RemoteTeacher, list[Rollout]]] = []
        self._parts: list[Part] = []

    def head(self) -> Head | None:
        """See `Teacher.head`."""
        return self._teachers[0].head()

    def heads(self) -> dict[str, Head | None]:
        """The head by the name of its teacher, which is empty."""
        return {"": self.head()}

    def score(self, rollouts: list[Rollout]) -> Scores:
        """See `Teacher.score`; each teacher scores some of the rollouts."""
        self.begin(rollouts)
        return self.finish(rollouts)

    def begin(self, rollouts: list[Rollout]) -> None:
        """Starts scoring some or all rollouts of the next `score`, without waiting for the scores.

        It waits for those that were begun before. Rollouts that are scored already are left out.
        """
        self._collect()
        known = {each for part, _ in self._parts for each in part}
        rest = [each for each in rollouts if each not in known]
        for teacher, share in zip(
            self._teachers, shares(len(rest), len(self._teachers)), strict=True
        ):
            # One of them answers for a batch without rollouts.
            if rest[share] or not (rollouts or self._begun):
                teacher.begin(rest[share])
                self._begun.append((teacher, rest[share]))

    def finish(self, rollouts: list[Rollout]) -> Scores:
        """Waits for the scores of these rollouts, all of which were begun."""
        self._collect()
        parts, self._parts = self._parts, []
        return _joined(rollouts, parts)

    def _collect(self) -> None:
        while self._begun:
            teacher, rollouts = self._begun.pop(0)
            self._parts.append((rollouts, teacher.finish()))


class TeachersByName(Workers):
    """Several models as teachers: each scores the rollouts whose prompts name it."""

    def __init__(self, teachers: Mapping[str, Teachers]) -> None:
        super().__init__([worker for each in teachers.values() for worker in each.workers])
        self._teachers = teachers

    def heads(self) -> dict[str, Head | None]:
        """The head of each teacher by its name; None if it returns logits."""
        return {name: each.head() for name, each in self._teachers.items()}

    @property
    def early(self) -> bool:
        """See `Teachers`."""
        return all(each.early for each in self._teachers.values())

    def begin(self, rollouts: list[Rollout]) -> None:
        """See `Teachers.begin`."""
        for name, asked in _by_teacher(rollouts).items():
            self._teachers[name].begin(asked)

    def score(self, rollouts: list[Rollout]) -> ScoresByTeacher:
        """The scores of all rollouts; the teachers compute at the same time."""
        self.begin(rollouts)
        own = _by_teacher(rollouts)
        parts = {name: self._teachers[name].finish(asked) for name, asked in own.items()}
        return ScoresByTeacher(parts, _merged(part.metrics for part in parts.values()))


def _by_teacher(rollouts: Sequence[Rollout]) -> dict[str, list[Rollout]]:
    own: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        own.setdefault(rollout.prompt.teacher, []).append(rollout)
    return own


def _joined(rollouts: list[Rollout], parts: Sequence[Part]) -> Scores:
    """The scores of the rollouts in their order, from those of the parts that hold them."""
    if len(parts) == 1 and parts[0][0] == rollouts:
        return parts[0][1]
    every = [scores for _, scores in parts]
    # Each teacher may have a GPU of its own.
    device = _states(every[0]).device
    rows_of: dict[Rollout, tuple[torch.Tensor, torch.Tensor]] = {}
    for part, scores in parts:
        lengths, states_RX = [len(each.response_ids) for each in part], _states(scores).to(device)
        aligned_R = scores.aligned_R
        if aligned_R is None:
            aligned_R = torch.ones(len(states_RX), dtype=torch.bool)
        rows = zip(states_RX.split(lengths), aligned_R.split(lengths), strict=True)
        rows_of |= zip(part, rows, strict=True)
    found = [rows_of[each] for each in rollouts]
    kind = HiddenScores if all(isinstance(each, HiddenScores) for each in every) else LogitScores
    aligned_R = None
    if any(each.aligned_R is not None for each in every):
        aligned_R = torch.cat([aligned_R for _, aligned_R in found])
    metrics = _merged(each.metrics for each in every)
    return kind(torch.cat([states_RX for states_RX, _ in found]), aligned_R, metrics)


def _states(scores: Scores) -> torch.Tensor:
    return scores.hidden_RD if isinstance(scores, HiddenScores) else scores.logits_RV


def _merged(of_parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The metrics of several teachers, or of several parts of a step, as those of one."""
    merged: dict[str, float] = {}
    for metrics in of_parts:
        for name, value in metrics.items():
            known = merged.get(name, 0.0)
            merged[name] = known + value if name in COUNTS else max(known, value)
    return merged
