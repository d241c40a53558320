"""Both models read the student's responses: the figures at each token."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from esr_cli.distill.divergence import Options, Side, figures
from esr_cli.distill.head import Head
from esr_cli.distill.ranks import ranks
from esr_cli.execution.scoring import Teachers
from esr_cli.models import batching, loading
from esr_cli.models.spelling import Spelling
from esr_cli.probe.analyses.reads import Read
from esr_cli.types import HiddenScores, Rollout


@torch.no_grad()
def read(
    model: Any, teacher: Teachers, rollouts: list[Rollout], spelling: Spelling,
    options: Options, budget_tokens: int,
) -> list[Read]:  # fmt: skip
    """One `Read` per rollout, in their order; `budget_tokens` bounds a padded batch."""
    head = loading.head_of(model)
    uses_head = loading.head_agrees(model, head)
    teacher_head = teacher.head()
    sequences = [batching.inputs(r.prompt.trained_ids, r.response_ids) for r in rollouts]
    reads: list[Any] = [None] * len(rollouts)
    lengths = list(map(len, sequences))
    for group in batching.micro_batches(lengths, budget_tokens, batching.enough_tokens(model)):
        group_rollouts = [rollouts[i] for i in group]
        input_ids_BL = batching.pad([sequences[i] for i in group], model.device)
        states_RX = batching.response_rows(
            loading.hidden_states(model, input_ids_BL) if uses_head
            else model(input_ids=input_ids_BL, use_cache=False).logits,
            [len(r.prompt.trained_ids) for r in group_rollouts],
            [len(r.response_ids) for r in group_rollouts],
        )  # fmt: skip
        student: Side = (states_RX, head) if uses_head else states_RX
        values = _values(student, teacher, teacher_head, group_rollouts, options)
        spans = batching.offsets([len(r.response_ids) for r in group_rollouts])
        for i, rollout, span in zip(group, group_rollouts, spans, strict=True):
            token_values = {name: value_R[span] for name, value_R in values.items()}
            reads[i] = Read(rollout.prompt.id, spelling(rollout.response_ids), **token_values)
    return reads


def _values(
    student: Side, teacher: Teachers, head: Head | None, chosen: list[Rollout],
    options: Options,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The figures of a batch, by name, for its concatenated response tokens.

    Figures that need the teacher are NaN at tokens that are not aligned.
    """
    states_RX = student[0] if isinstance(student, tuple) else student
    device, scores = states_RX.device, teacher.score(chosen)
    if isinstance(scores, HiddenScores):
        assert head is not None, "hidden states came without their head"
        teacher_side: Side = (scores.hidden_RD.to(device), head.to(device))
    else:
        teacher_side = scores.logits_RV.to(device)
    tokens_R = torch.tensor([i for r in chosen for i in r.response_ids], device=device)
    by_position = figures(student, teacher_side, tokens_R, options)
    ranked = ranks(student, teacher_side, options)
    values = {
        "kl": by_position.kl_R,
        "student_entropy": by_position.student_entropy_R,
        "teacher_entropy": by_position.teacher_entropy_R,
        "top1_prob": ranked.top1_prob_R,
        "teacher_rank": ranked.teacher_rank_R.float(),
    }
    if scores.aligned_R is not None:
        unaligned_R = ~scores.aligned_R.to(device)
        for name in ("kl", "teacher_entropy", "teacher_rank"):
            values[name] = values[name].masked_fill(unaligned_R, torch.nan)
    return {name: value_R.double().cpu().numpy() for name, value_R in values.items()}
