"""Exact reverse KL over the whole vocabulary, from hidden states and output heads.

For position t of a response, with student q and teacher p at loss temperature T,

    KL_t = sum_v q_v (log q_v - log p_v),          dKL_t/dz_v = q_v (log q_v - log p_v - KL_t) / T

(arXiv 2605.27028, the ESR objective; no T^2 factor). Positions pass the heads in tiles, and the
gradient of a tile is taken while its logits are there, so that memory does not grow with R x V
(teacher logits, where they are given instead of hidden states, are the caller's memory).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

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
    """`sum_t weight_t KL(student_t || teacher_t)` in nats, with gradients to hidden and head.

    `teacher` is (hidden_RD, head), of its own width D, or logits_RV. Both vocabularies are cut to
    their first `vocabulary` ids (None: the student's rows); only `student_logprob_R` is over all
    rows of the student's head. `weight_R` carries the denominator, 1 / response tokens of the
    whole step, so that micro-batches add up; no gradient flows to it or to the teacher. A tensor
    that does not train costs no gradient. Peak memory is a few `tile_tokens` x V.

    Raises AssertionError when a head has fewer rows than `vocabulary` or the row counts differ.
    Source: arXiv 2605.27028, reverse KL.
    """
    shared = student_head.rows if vocabulary is None else vocabulary
    assert 0 < shared <= student_head.rows, (shared, student_head.rows)
    if isinstance(teacher, tuple):
        assert shared <= teacher[1].rows, (shared, teacher[1].rows)
        teacher = (teacher[0], teacher[1].cut(shared))
    states_R = teacher[0] if isinstance(teacher, tuple) else teacher
    counts = {len(x) for x in (student_hidden_RD, states_R, token_ids_R, weight_R)}
    assert len(counts) == 1, f"row counts differ: {sorted(counts)}"
    assert isinstance(teacher, tuple) or shared <= teacher.shape[-1], (shared, teacher.shape)
    options = _Options(temperature, logprob_temperature, shared, tile_tokens)
    outputs = _ReverseKL.apply(
        student_hidden_RD, student_head.weight_VD, student_head.bias_V,
        student_head, teacher, token_ids_R, weight_R, options, torch.is_grad_enabled(),
    )  # fmt: skip
    return Divergence(*outputs)


@dataclass(frozen=True)
class _Options:
    temperature: float
    logprob_temperature: float
    shared: int
    tile_tokens: int


class _ReverseKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_RD: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None,
        head: Head, teacher: Teacher, token_ids_R: torch.Tensor, weight_R: torch.Tensor,
        options: _Options, grad_enabled: bool,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        wide = torch.float64 if hidden_RD.dtype == torch.float64 else torch.float32
        weight_R = weight_R.to(wide)
        # Many tiles add up in the head's gradient: fp32 whatever the weights are kept in.
        gradients = [
            torch.zeros_like(x, dtype=dtype) if x is not None and needed and grad_enabled else None
            for x, dtype, needed in zip(
                (hidden_RD, weight_VD, bias_V), (hidden_RD.dtype, wide, wide),
                ctx.needs_input_grad[:3], strict=True,
            )
        ]  # fmt: skip
        columns = []
        # At least one tile, so that no rows at all give a loss of zero.
        for start in range(0, max(1, len(hidden_RD)), options.tile_tokens):
            rows = slice(start, start + options.tile_tokens)
            slope_RV, figures = _tile(
                hidden_RD[rows], head, _teacher_logits(teacher, rows, options.shared),
                token_ids_R[rows], weight_R[rows], options, any(g is not None for g in gradients),
            )  # fmt: skip
            columns.append(figures)
            if slope_RV is not None:
                _collect(gradients, slope_RV, hidden_RD[rows], weight_VD, rows)
        by_products = tuple(torch.cat(column) for column in zip(*columns, strict=True))
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [None if x is None else x.dtype for x in (hidden_RD, weight_VD, bias_V)]
        ctx.mark_non_differentiable(*by_products)
        return ((by_products[0] * weight_R).sum(), *by_products)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: torch.Tensor, *_: Any) -> tuple[Any, ...]:
        pairs = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        scaled = [None if grad is None else (grad * grad_loss).to(dtype) for grad, dtype in pairs]
        return (*scaled, None, None, None, None, None, None)


def _collect(
    gradients: list[torch.Tensor | None], slope_RV: torch.Tensor, hidden_RD: torch.Tensor,
    weight_VD: torch.Tensor, rows: slice,
) -> None:  # fmt: skip
    """Adds a tile's dloss/d(linear output) to the gradients of hidden, weight and bias."""
    grad_hidden_RD, grad_weight_VD, grad_bias_V = gradients
    narrow_RV = slope_RV.to(weight_VD.dtype)
    if grad_hidden_RD is not None:
        grad_hidden_RD[rows] = narrow_RV @ weight_VD
    if grad_weight_VD is not None:
        grad_weight_VD += narrow_RV.T @ hidden_RD
    if grad_bias_V is not None:
        grad_bias_V += slope_RV.sum(0)


def _teacher_logits(teacher: Teacher, rows: slice, shared: int) -> torch.Tensor:
    if isinstance(teacher, tuple):
        hidden_RD, head = teacher
        return head.logits(hidden_RD[rows])
    logits_RV = teacher[rows, :shared]
    return logits_RV if logits_RV.dtype == torch.float64 else logits_RV.float()


def _tile(
    hidden_RD: torch.Tensor, head: Head, teacher_RV: torch.Tensor, token_ids_R: torch.Tensor,
    weight_R: torch.Tensor, options: _Options, with_slope: bool,
) -> tuple[torch.Tensor | None, tuple[torch.Tensor, ...]]:  # fmt: skip
    """The figures of a tile, and dloss/d(linear output) if wanted."""
    logits_RV = head.logits(hidden_RD)
    log_q_RV = (logits_RV[:, : options.shared] / options.temperature).log_softmax(-1)
    log_p_RV = (teacher_RV / options.temperature).log_softmax(-1)
    q_RV = log_q_RV.exp()
    # 0 log 0 = 0: a token the student rules out (-inf) adds nothing, whatever the teacher says.
    ratio_RV = (log_q_RV - log_p_RV).masked_fill(q_RV == 0, 0)
    kl_R = (q_RV * ratio_RV).sum(-1)
    drawn_R1 = (
        (logits_RV / options.logprob_temperature).log_softmax(-1).gather(-1, token_ids_R[:, None])
    )
    figures = (
        # Rounding can leave a hair below zero where the two agree.
        kl_R.clamp(min=0),
        _entropy(log_q_RV),
        _entropy(log_p_RV),
        log_q_RV.argmax(-1) == log_p_RV.argmax(-1),
        drawn_R1[:, 0],
    )
    if not with_slope:
        return None, figures
    slope_RV = torch.zeros_like(logits_RV)
    factor_R1 = (weight_R / options.temperature)[:, None]
    slope_RV[:, : options.shared] = q_RV * (ratio_RV - kl_R[:, None]) * factor_R1
    return slope_RV * head.cap_slope(logits_RV) * head.scale, figures


def _entropy(log_p_RV: torch.Tensor) -> torch.Tensor:
    p_RV = log_p_RV.exp()
    return -(p_RV * log_p_RV.masked_fill(p_RV == 0, 0)).sum(-1)
