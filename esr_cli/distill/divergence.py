"""Exact reverse KL over the whole vocabulary, from hidden states and output heads.

For position t of a response, with student q and teacher p at loss temperature T,

    KL_t = sum_v q_v (log q_v - log p_v),          dKL_t/dz_v = q_v (log q_v - log p_v - KL_t) / T

(arXiv 2605.27028, the ESR objective; no T^2 factor). Positions pass the heads in tiles, and the
gradient of a tile is taken while its logits are there, so that memory does not grow with R x V.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from esr_cli.distill.head import Head

Teacher = tuple[torch.Tensor, Head] | torch.Tensor


@dataclass(frozen=True)
class Divergence:
    """The loss (a scalar with a gradient) and what its computation knows besides, detached.

    Entropies and KL are in nats, over the shared vocabulary at the loss temperature;
    `student_logprob_R` is that of the given tokens at the sampling temperature.
    """

    loss: torch.Tensor
    kl_R: torch.Tensor
    student_entropy_R: torch.Tensor
    teacher_entropy_R: torch.Tensor
    top1_agree_R: torch.Tensor
    student_logprob_R: torch.Tensor


def reverse_kl(
    student_hidden_RD: torch.Tensor,
    student_head: Head,
    teacher: Teacher,
    token_ids_R: torch.Tensor,
    weight_R: torch.Tensor,
    *,
    temperature: float = 1.0,
    logprob_temperature: float = 1.0,
    vocabulary: int | None = None,
    tile_tokens: int = 256,
) -> Divergence:
    """`sum_t weight_t KL(student_t || teacher_t)` with gradients to hidden states and head.

    `teacher` is (hidden_RD, head) or logits_RV. Both vocabularies are cut to their first
    `vocabulary` ids (None: the student's). A head that does not train gets no gradient.
    """
    outputs = _ReverseKL.apply(
        student_hidden_RD, student_head.weight_VD, student_head.bias_V,
        student_head, teacher, token_ids_R, weight_R,
        (temperature, logprob_temperature, vocabulary, tile_tokens),
    )  # fmt: skip
    return Divergence(*outputs)


class _ReverseKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_RD: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None,
        head: Head, teacher: Teacher, token_ids_R: torch.Tensor, weight_R: torch.Tensor,
        options: tuple[float, float, int | None, int],
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        tile = options[3]
        wide = torch.float64 if hidden_RD.dtype == torch.float64 else torch.float32
        wants_head = weight_VD.requires_grad or (bias_V is not None and bias_V.requires_grad)
        grad_hidden_RD = torch.zeros_like(hidden_RD)
        # Many tiles add up in the head's gradient: fp32 whatever the weights are kept in.
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=wide) if wants_head else None
        grad_bias_V = (
            torch.zeros_like(bias_V, dtype=wide) if wants_head and bias_V is not None else None
        )
        columns = []
        for start in range(0, hidden_RD.shape[0], tile):
            rows = slice(start, start + tile)
            grad_raw, figures = _tile(
                hidden_RD[rows], head, _teacher_logits(teacher, rows), token_ids_R[rows],
                weight_R[rows], options,
            )  # fmt: skip
            columns.append(figures)
            narrow = grad_raw.to(weight_VD.dtype)
            grad_hidden_RD[rows] = narrow @ weight_VD
            if grad_weight_VD is not None:
                grad_weight_VD += (narrow.T @ hidden_RD[rows]).to(wide)
            if grad_bias_V is not None:
                grad_bias_V += grad_raw.sum(0)
        ctx.gradients = (grad_hidden_RD, grad_weight_VD, grad_bias_V)
        ctx.dtypes = (hidden_RD.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        by_products = tuple(torch.cat(column) for column in zip(*columns, strict=True))
        ctx.mark_non_differentiable(*by_products)
        loss = (by_products[0] * weight_R).sum()
        return (loss, *by_products)

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor, *_: Any) -> tuple[Any, ...]:  # type: ignore[override]
        pairs = zip(ctx.gradients, ctx.dtypes, strict=True)
        scaled = [None if grad is None else (grad * grad_loss).to(dtype) for grad, dtype in pairs]
        return (*scaled, None, None, None, None, None)


def _teacher_logits(teacher: Teacher, rows: slice) -> torch.Tensor:
    if isinstance(teacher, tuple):
        hidden_RD, head = teacher
        return head.logits(hidden_RD[rows])
    logits_RV = teacher[rows]
    return logits_RV if logits_RV.dtype == torch.float64 else logits_RV.float()


def _tile(
    hidden_RD: torch.Tensor, head: Head, teacher_RV: torch.Tensor, token_ids_R: torch.Tensor,
    weight_R: torch.Tensor, options: tuple[float, float, int | None, int],
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:  # fmt: skip
    temperature, logprob_temperature, vocabulary, _ = options
    logits_RV = head.logits(hidden_RD)
    shared = vocabulary or logits_RV.shape[-1]
    log_q_RV = (logits_RV[:, :shared] / temperature).log_softmax(-1)
    log_p_RV = (teacher_RV[:, :shared] / temperature).log_softmax(-1)
    q_RV, ratio_RV = log_q_RV.exp(), log_q_RV - log_p_RV
    kl_R = (q_RV * ratio_RV).sum(-1)
    grad_RV = torch.zeros_like(logits_RV)
    slope_R1 = (weight_R / temperature)[:, None]
    grad_RV[:, :shared] = q_RV * (ratio_RV - kl_R[:, None]) * slope_R1
    drawn_R = (logits_RV / logprob_temperature).log_softmax(-1).gather(-1, token_ids_R[:, None])
    figures = (
        kl_R,
        -(q_RV * log_q_RV).sum(-1),
        -(log_p_RV.exp() * log_p_RV).sum(-1),
        log_q_RV.argmax(-1) == log_p_RV.argmax(-1),
        drawn_R[:, 0],
    )
    return grad_RV * head.cap_slope(logits_RV) * head.scale, figures
