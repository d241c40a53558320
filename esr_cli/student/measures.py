"""What a training step measures: means of the figures by position, and why a step is skipped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from esr_cli.distill.divergence import Figures
from esr_cli.models import batching
from esr_cli.types import Rollout

NOT_FINITE = "loss or gradient is not finite (a lower tune.learning_rate may help)"
TEACHER_NOT_FINITE = "the teacher's probabilities are not finite (look at pair.teacher's weights)"
STUDENT_NOT_FINITE = "the student's probabilities are not finite"
NOTHING_COUNTS = "no position counts (loss.select, loss.weights, or align/coverage)"


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch: its rollouts' indices, loss, denominator, and per-position figures."""

    group: list[int]
    loss: float
    denominator: float
    kept_R: torch.Tensor
    usable_R: torch.Tensor
    figures: Figures


def fault(parts: list[MicroBatch]) -> str:
    """The reason for a loss or gradient that is not finite."""
    for name, reason in (
        ("teacher_entropy_R", TEACHER_NOT_FINITE), ("student_entropy_R", STUDENT_NOT_FINITE),
    ):  # fmt: skip
        if any(getattr(part.figures, name)[part.usable_R].isnan().any() for part in parts):
            return reason
    return NOT_FINITE


def metrics(rollouts: list[Rollout], parts: list[MicroBatch]) -> dict[str, float]:
    """The means of a step by metric key."""
    usable_R = torch.cat([part.usable_R for part in parts])

    def mean(name: str) -> float:
        values_R = torch.cat([getattr(part.figures, name).float() for part in parts])
        return float(values_R[usable_R].mean())

    gap_R = _gaps(rollouts, parts)
    k1_R = torch.cat([part.figures.k1_R.float() for part in parts])[usable_R]
    weight_R = torch.cat([part.figures.importance_R.float() for part in parts])[usable_R]
    kept_R = torch.cat([part.kept_R for part in parts])
    return {
        "train/reverse_kl": mean("kl_R"),
        "train/k1": float((weight_R * k1_R).mean()),
        # p/q - 1 - log(p/q): non-negative, with the expectation of k1.
        "train/k3": float((weight_R * ((-k1_R).exp() - 1 + k1_R)).mean()),
        "train/kept": float(kept_R.float().mean()),
        "student/entropy": mean("student_entropy_R"),
        "teacher/entropy": mean("teacher_entropy_R"),
        "train/top1_agree": mean("top1_agree_R"),
        "align/coverage": float(usable_R.float().mean()),
        "align/student_outside": mean("student_outside_R"),
        "align/teacher_outside": mean("teacher_outside_R"),
        "rollout/logprob_gap_mean": float(gap_R.mean()),
        # A step may be left without tokens, if ends are not trained.
        "rollout/logprob_gap_max": float(gap_R.max()) if len(gap_R) else math.nan,
    }


def by_teacher(rollouts: list[Rollout], parts: list[MicroBatch]) -> dict[str, float]:
    """The mean reverse KL (nats) of each of several teachers; empty if one scores all rollouts.

    That of the teacher for all other rows is named `others`.
    """
    if not any(each.prompt.teacher for each in rollouts):
        return {}
    values: dict[str, list[torch.Tensor]] = {}
    for part in parts:
        name = rollouts[part.group[0]].prompt.teacher or "others"
        values.setdefault(name, []).append(part.figures.kl_R.float()[part.usable_R])
    return {f"train/reverse_kl/{name}": float(torch.cat(v).mean()) for name, v in values.items()}


def gaps(rollouts: list[Rollout], parts: list[MicroBatch]) -> dict[int, tuple[float, float]]:
    """The mean and largest log-probability gap (nats) of each engine, by `Rollout.replica`."""
    gap_R = _gaps(rollouts, parts)
    order = [rollouts[i] for part in parts for i in part.group]
    replica_R = torch.tensor([each.replica for each in order for _ in each.response_ids])
    found = {}
    for replica in sorted(set(replica_R.tolist())):
        own_R = gap_R[replica_R == replica]
        found[replica] = float(own_R.mean()), float(own_R.max())
    return found


def _gaps(rollouts: list[Rollout], parts: list[MicroBatch]) -> torch.Tensor:
    """How far engine and trainer are apart at each token, in the order of the micro-batches."""
    engine = [lp for part in parts for i in part.group for lp in rollouts[i].logprobs]
    trainer_R = torch.cat([part.figures.logprob_R.float().cpu() for part in parts])
    return (trainer_R - torch.tensor(engine)).abs()


def kl_by_rollout(rollouts: list[Rollout], parts: list[MicroBatch]) -> list[list[float]]:
    """The reverse KL at each response token; NaN for tokens that are not aligned."""
    by_rollout: list[list[float]] = [[] for _ in rollouts]
    for part in parts:
        values = part.figures.kl_R.masked_fill(~part.usable_R, math.nan).tolist()
        spans = batching.offsets([len(rollouts[i].response_ids) for i in part.group])
        for i, span in zip(part.group, spans, strict=True):
            by_rollout[i] = values[span]
    return by_rollout
