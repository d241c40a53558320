"""The student's most likely token, and its rank in the teacher's distribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from esr_cli.distill.divergence import Options, Side, columns, side_logits
from esr_cli.distill.shared import Shared


@dataclass(frozen=True)
class Ranks:
    """The student's highest probability at each position, and that token's rank at the teacher.

    Rank 1 is the teacher's most likely token. Equal probabilities share the better rank.
    """

    top1_prob_R: torch.Tensor
    teacher_rank_R: torch.Tensor


@torch.no_grad()
def ranks(student: Side, teacher: Side, options: Options) -> Ranks:
    """Computes `Ranks` over the shared vocabulary, at the temperature and in tiles of `options`."""
    shared = options.shared or Shared(columns(student))
    probs, teacher_ranks = [], []
    count = len(student[0] if isinstance(student, tuple) else student)
    tile = options.tile(columns(student))
    for start in range(0, max(1, count), tile):
        rows = slice(start, start + tile)
        log_q_RW, _ = shared.student(side_logits(student, rows) / options.temperature)
        log_p_RW, _ = shared.teacher(side_logits(teacher, rows) / options.temperature)
        top_R1, column_R1 = log_q_RW.max(-1, keepdim=True)
        better_RW = log_p_RW > log_p_RW.gather(-1, column_R1)
        probs.append(top_R1[:, 0].exp())
        teacher_ranks.append(1 + better_RW.sum(-1))
    return Ranks(torch.cat(probs), torch.cat(teacher_ranks))
