"""The token that a student holds most likely, and what its teacher thinks of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from esr_cli.distill.divergence import Options, Side, columns, side_logits
from esr_cli.distill.shared import Shared


@dataclass(frozen=True)
class Ranks:
    """At each position the student's highest probability, and the rank of that token in the
    teacher's distribution: 1 is the teacher's own choice, and equals share the better rank.
    """

    top1_prob_R: torch.Tensor
    teacher_rank_R: torch.Tensor


@torch.no_grad()
def ranks(student: Side, teacher: Side, options: Options) -> Ranks:
    """Over the shared vocabulary of `options`, at its temperature, in its tiles."""
    shared = options.shared or Shared(columns(student))
    probs, places = [], []
    count = len(student[0] if isinstance(student, tuple) else student)
    tile = options.tile(columns(student))
    for start in range(0, max(1, count), tile):
        rows = slice(start, start + tile)
        log_q_RW, _ = shared.student(side_logits(student, rows) / options.temperature)
        log_p_RW, _ = shared.teacher(side_logits(teacher, rows) / options.temperature)
        top_R1, column_R1 = log_q_RW.max(-1, keepdim=True)
        better_RW = log_p_RW > log_p_RW.gather(-1, column_R1)
        probs.append(top_R1[:, 0].exp())
        places.append(1 + better_RW.sum(-1))
    return Ranks(torch.cat(probs), torch.cat(places))
