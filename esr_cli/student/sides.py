"""The teacher's side of a step: each rollout's scores by its own teacher, and that one's head."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from esr_cli.distill.divergence import Side
from esr_cli.distill.head import Head
from esr_cli.models import batching
from esr_cli.types import HiddenScores, Rollout, Scores, ScoresByTeacher, StepScores

# By the name of the teacher; None for one that returns logits.
Heads = Mapping[str, Head | None]


class TeacherSides:
    """The scores of a step's `rollouts`, by micro-batch; `heads` has every teacher's head."""

    def __init__(self, heads: Heads, scores: StepScores, rollouts: list[Rollout]) -> None:
        self._heads = heads
        if isinstance(scores, ScoresByTeacher):
            self._parts: Mapping[str, Scores] = scores.parts
            self._names = [rollout.prompt.teacher for rollout in rollouts]
        else:
            self._parts, self._names = {"": scores}, [""] * len(rollouts)
        # The numbers of each teacher's rollouts, and the rows of each rollout in its scores.
        self._own: dict[str, list[int]] = {}
        for i, name in enumerate(self._names):
            self._own.setdefault(name, []).append(i)
        self._spans: dict[int, slice] = {}
        for own in self._own.values():
            spans = batching.offsets([len(rollouts[i].response_ids) for i in own])
            self._spans |= dict(zip(own, spans, strict=True))

    def groups(
        self, rows: list[list[int]], lengths: list[int], budget_tokens: int, enough: int
    ) -> list[list[list[int]]]:
        """Micro-batches, see `batching.micro_batches`, of rows with the same teacher each.

        A row is the numbers of its rollouts, which have one teacher; `lengths` are the rows' own.
        """
        of_name: dict[str, list[int]] = {name: [] for name in self._own}
        for at, row in enumerate(rows):
            of_name[self._names[row[0]]].append(at)
        return [
            [rows[own[at]] for at in group]
            for own in of_name.values()
            for group in batching.micro_batches([lengths[i] for i in own], budget_tokens, enough)
        ]

    def of(self, group: list[int], device: torch.device) -> tuple[Side, torch.Tensor]:
        """The teacher's side of a micro-batch, and the positions at which it predicts."""
        name = self._names[group[0]]
        scores, spans = self._parts[name], [self._spans[i] for i in group]
        states = scores.hidden_RD if isinstance(scores, HiddenScores) else scores.logits_RV
        rows = torch.cat([states[span] for span in spans]).to(device)
        if scores.aligned_R is None:
            usable_R = torch.ones(len(rows), dtype=torch.bool, device=device)
        else:
            usable_R = torch.cat([scores.aligned_R[span] for span in spans]).to(device)
        if not isinstance(scores, HiddenScores):
            return rows, usable_R
        head = self._heads[name]
        assert head is not None, "hidden states need the teacher's output head"
        return (rows, head), usable_R
