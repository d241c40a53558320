"""Exact divergences over the whole vocabulary, from hidden states and output heads.

Positions pass the heads in tiles, and the gradient of a tile is taken while its logits are there,
so that memory does not grow with R x V (logits given instead of hidden states are the caller's
memory). The derivative of a value by the logits is its slope (`kinds.py`) over the temperature; no
T^2 factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from esr_cli.distill.head import Head
from esr_cli.distill.kinds import KINDS, reverse_kl
from esr_cli.distill.shared import Grouped, Shared

# States before an output head, of a width D of their own, or exact logits.
Side = tuple[torch.Tensor, Head] | torch.Tensor
# Where a tile is small, calling costs more than its memory saves.
TILE_TOKENS, TILE_LOGITS = 256, 2**20


@dataclass(frozen=True)
class Figures:
    """What each position knows, detached; see `divergence` for what is compared.

    `value_R` is the divergence that trains, 0 where it needs the drawn token and that one lies
    outside; `kl_R` the reverse KL and the entropies, all in nats at the loss temperature; `k1_R`
    the log-ratio log q - log p of the drawn token, an estimate of the reverse KL by one sample;
    `importance_R` its probability at the loss temperature over that at which it was drawn, by which
    such estimates are weighed; `confidence_R` the teacher's highest probability; `outside` what
    either model puts outside the shared vocabulary; `logprob_R` the student's log-probability of
    the drawn token at the sampling temperature.
    """

    value_R: torch.Tensor
    kl_R: torch.Tensor
    student_entropy_R: torch.Tensor
    teacher_entropy_R: torch.Tensor
    confidence_R: torch.Tensor
    top1_agree_R: torch.Tensor
    k1_R: torch.Tensor
    importance_R: torch.Tensor
    student_outside_R: torch.Tensor
    teacher_outside_R: torch.Tensor
    logprob_R: torch.Tensor


@dataclass(frozen=True)
class Options:
    """Which divergence and how: see `divergence`. `shared` None: all of the student's rows;
    `tile_tokens` None: as many as make good tiles.
    """

    kind: str = "reverse_kl"
    beta: float = 0.5
    temperature: float = 1.0
    sampling_temperature: float = 1.0
    shared: Shared | Grouped | None = None
    tile_tokens: int | None = None

    def tile(self, columns: int) -> int:
        """How many positions pass heads of so many columns at a time."""
        return self.tile_tokens or max(TILE_TOKENS, TILE_LOGITS // columns)


def divergence(
    student: Side, teacher: Side, token_ids_R: torch.Tensor, weight_R: torch.Tensor,
    options: Options,
) -> tuple[torch.Tensor, Figures]:  # fmt: skip
    """The loss `sum_t weight_t D(student_t, teacher_t)` in nats, and the figures it knows besides.

    The loss has a gradient to the student's states, head weight and bias (to its logits, where it
    gives those); none flows to the teacher or the weights, and a tensor that does not train costs
    none. `options.kind` is one of `kinds.KINDS`; both sides are compared over `options.shared` at
    `options.temperature`. Peak memory is a few tiles of `options.tile(V)` x V.

    Raises AssertionError when a side has fewer columns than the shared vocabulary or rows differ
    in number. Source: arXiv 2605.27028 for the reverse KL.
    """
    assert not isinstance(student, tuple) or not student[1].spare, "spare rows do not train"
    rows = columns(student)
    shared = options.shared or Shared(rows)
    if isinstance(shared, Shared):
        assert 0 < shared.size <= rows, (shared.size, rows)
        assert shared.size <= columns(teacher), (shared.size, columns(teacher))
    states_RX, head = student if isinstance(student, tuple) else (student, None)
    teacher_RX = teacher[0] if isinstance(teacher, tuple) else teacher
    counts = {len(x) for x in (states_RX, teacher_RX, token_ids_R, weight_R)}
    assert len(counts) == 1, f"row counts differ: {sorted(counts)}"
    weight_VD, bias_V = (head.weight_VD, head.bias_V) if head else (None, None)
    loss, *found = _Tiled.apply(
        states_RX, weight_VD, bias_V, head, teacher, token_ids_R, weight_R, options, shared,
        torch.is_grad_enabled(),
    )  # fmt: skip
    return loss, Figures(*found)


@torch.no_grad()
def figures(student: Side, teacher: Side, token_ids_R: torch.Tensor, options: Options) -> Figures:
    """The figures alone, for what weighs positions by them."""
    ones_R = torch.ones(len(token_ids_R), device=token_ids_R.device)
    return divergence(student, teacher, token_ids_R, ones_R, options)[1]


def columns(side: Side) -> int:
    """The vocabulary V of a side, padding rows of its head included."""
    return side[1].rows if isinstance(side, tuple) else side.shape[1]


def side_logits(side: Side, rows: slice) -> torch.Tensor:
    """`logits_RV` of some of a side's rows, in at least fp32."""
    if isinstance(side, tuple):
        return _logits(side[0][rows], side[1])
    return _logits(side[rows], None)


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states_RX: torch.Tensor, weight_VD: torch.Tensor | None,
        bias_V: torch.Tensor | None, head: Head | None, teacher: Side, token_ids_R: torch.Tensor,
        weight_R: torch.Tensor, options: Options, shared: Shared | Grouped, grad_enabled: bool,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        """The loss and its by-products, tile by tile; the gradients are taken on the way."""
        wide = torch.float64 if states_RX.dtype == torch.float64 else torch.float32
        weight_R = weight_R.to(wide)
        # Many tiles add up in the head's gradient: fp32 whatever the weights are kept in.
        gradients = [
            torch.zeros_like(x, dtype=dtype) if x is not None and needed and grad_enabled else None
            for x, dtype, needed in zip(
                (states_RX, weight_VD, bias_V), (states_RX.dtype, wide, wide),
                ctx.needs_input_grad[:3], strict=True,
            )
        ]  # fmt: skip
        found_by_tile = []
        # At least one tile, so that no rows at all give a loss of zero.
        count = options.tile(head.rows if head else states_RX.shape[1])
        for start in range(0, max(1, len(states_RX)), count):
            rows = slice(start, start + count)
            slope_RV, found = _tile(
                _logits(states_RX[rows], head), head, side_logits(teacher, rows),
                token_ids_R[rows], weight_R[rows], options, shared,
                any(g is not None for g in gradients),
            )  # fmt: skip
            found_by_tile.append(found)
            if slope_RV is not None:
                _collect(gradients, slope_RV, states_RX[rows], weight_VD, rows)
        by_products = tuple(torch.cat(column) for column in zip(*found_by_tile, strict=True))
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [None if x is None else x.dtype for x in (states_RX, weight_VD, bias_V)]
        ctx.mark_non_differentiable(*by_products)
        # A position without a weight does not count, whatever its value is.
        counted_R = by_products[0].masked_fill(weight_R == 0, 0)
        return ((counted_R * weight_R).sum(), *by_products)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: torch.Tensor, *_: Any) -> tuple[Any, ...]:
        pairs = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        scaled = [None if grad is None else (grad * grad_loss).to(dtype) for grad, dtype in pairs]
        return (*scaled, None, None, None, None, None, None, None)


def _collect(
    gradients: list[torch.Tensor | None], slope_RV: torch.Tensor, states_RX: torch.Tensor,
    weight_VD: torch.Tensor | None, rows: slice,
) -> None:  # fmt: skip
    """Adds a tile's dloss/d(linear output) to the gradients of states, weight and bias."""
    of_states, of_weight, of_bias = gradients
    if weight_VD is None:
        if of_states is not None:
            of_states[rows] = slope_RV.to(of_states.dtype)
        return
    narrow_RV = slope_RV.to(weight_VD.dtype)
    if of_states is not None:
        of_states[rows] = narrow_RV @ weight_VD
    if of_weight is not None:
        of_weight += narrow_RV.T @ states_RX
    if of_bias is not None:
        of_bias += slope_RV.sum(0)


def _logits(states_RX: torch.Tensor, head: Head | None) -> torch.Tensor:
    if head is not None:
        return head.logits(states_RX)
    return states_RX if states_RX.dtype == torch.float64 else states_RX.float()


def _tile(
    logits_RV: torch.Tensor, head: Head | None, teacher_RV: torch.Tensor,
    token_ids_R: torch.Tensor, weight_R: torch.Tensor, options: Options,
    shared: Shared | Grouped, with_slope: bool,
) -> tuple[torch.Tensor | None, tuple[torch.Tensor, ...]]:  # fmt: skip
    """The figures of a tile, and dloss/d(linear output) if wanted."""
    scaled_RV = _over(logits_RV, options.temperature)
    log_q_RW, outside_q_R = shared.student(scaled_RV)
    log_p_RW, outside_p_R = shared.teacher(_over(teacher_RV, options.temperature))
    # A tile of 150,000 columns is large: what has served goes.
    del teacher_RV
    column_R = shared.column(token_ids_R)
    drawn_R = column_R.clamp(min=0)
    value_R, slope_RW = KINDS[options.kind](log_q_RW, log_p_RW, drawn_R, options.beta)
    kl_R = value_R if options.kind == "reverse_kl" else reverse_kl(log_q_RW, log_p_RW)[0]
    at_R1 = drawn_R[:, None]
    k1_R = (log_q_RW.gather(-1, at_R1) - log_p_RW.gather(-1, at_R1))[:, 0]
    logprob_R, importance_R = _drawn(shared.allowed(logits_RV), token_ids_R, options)
    if options.kind == "policy_gradient":
        counted_R = importance_R.masked_fill(column_R < 0, 0)
        value_R, slope_RW = value_R * counted_R, slope_RW * counted_R[:, None]
    found = (
        value_R,
        # Rounding can leave a hair below zero where the two agree.
        kl_R.clamp(min=0),
        _entropy(log_q_RW),
        _entropy(log_p_RW),
        log_p_RW.max(-1).values.exp(),
        log_q_RW.argmax(-1) == log_p_RW.argmax(-1),
        k1_R.masked_fill(column_R < 0, 0),
        importance_R,
        outside_q_R,
        outside_p_R,
        logprob_R,
    )
    del log_q_RW, log_p_RW
    if not with_slope:
        return None, found
    factor_R1 = (weight_R / options.temperature)[:, None]
    # A position without a weight has no slope either, whatever its logits are.
    slope_RW = slope_RW.mul_(factor_R1).masked_fill_(factor_R1 == 0, 0)
    slope_RV = shared.spread(slope_RW, scaled_RV)
    if head is not None and (head.softcap is not None or head.scale != 1):
        slope_RV = slope_RV * head.cap_slope(logits_RV) * head.scale
    return slope_RV, found


def _drawn(
    allowed_RV: torch.Tensor, token_ids_R: torch.Tensor, options: Options
) -> tuple[torch.Tensor, torch.Tensor]:
    """The drawn tokens' log-probability as they were drawn, and their importance."""
    logit_R = allowed_RV.gather(-1, token_ids_R[:, None])[:, 0]

    def at(temperature: float) -> torch.Tensor:
        return logit_R / temperature - _over(allowed_RV, temperature).logsumexp(-1)

    drawn_R = at(options.sampling_temperature)
    if options.temperature == options.sampling_temperature:
        return drawn_R, torch.ones_like(drawn_R)
    return drawn_R, (at(options.temperature) - drawn_R).exp()


def _entropy(log_p_RV: torch.Tensor) -> torch.Tensor:
    p_RV = log_p_RV.exp()
    # A token that is ruled out adds nothing; -inf times 0 would be no number.
    return -p_RV.mul_(log_p_RV.clamp(min=torch.finfo(p_RV.dtype).min)).sum(-1)


def _over(logits_RV: torch.Tensor, temperature: float) -> torch.Tensor:
    return logits_RV if temperature == 1 else logits_RV / temperature
