"""Exact divergences over the whole vocabulary, from hidden states and output heads.

Positions are processed in tiles. The gradient of a tile is computed while its logits exist, so
memory does not grow with R x V (logits passed instead of hidden states are the caller's memory).
The derivative of a value with respect to the logits is its slope (`kinds.py`) divided by the
temperature; there is no T^2 factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from esr_cli.distill.head import Head
from esr_cli.distill.kinds import KINDS, forward_kl, reverse_kl
from esr_cli.distill.shared import Grouped, Shared

# Hidden states (each model has its own width D) with their output head, or exact logits.
Side = tuple[torch.Tensor, Head] | torch.Tensor
# In smaller tiles the overhead of the calls outweighs the memory saved.
TILE_TOKENS, TILE_LOGITS = 256, 2**20


@dataclass(frozen=True)
class Figures:
    """Detached values at each position; see `divergence` for what is compared.

    - `value_R`: the divergence that trains; 0 if it needs the sampled token and that token is
      outside the shared vocabulary
    - `kl_R` and the entropies: in nats, at the loss temperature
    - `k1_R`: log q - log p of the sampled token, a one-sample estimate of the reverse KL
    - `importance_R`: the token's probability at the loss temperature divided by that at the
      sampling temperature; the importance weight of such estimates
    - `confidence_R`: the teacher's highest probability
    - `student_outside_R`, `teacher_outside_R`: probability mass outside the shared vocabulary
    - `logprob_R`: the student's log-probability of the sampled token at the sampling temperature
    - `forward_kl_R`: in nats, at the loss temperature; NaN unless `Options.forward_kl`
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
    forward_kl_R: torch.Tensor


@dataclass(frozen=True)
class Options:
    """Options of `divergence`. `shared` None: all rows of the student's head. `tile_tokens` None:
    chosen by the number of columns. `forward_kl` adds that figure. Raises ValueError for a `kind`
    that is none of `kinds.KINDS`, and for a temperature or `beta` out of range.
    """

    kind: str = "reverse_kl"
    beta: float = 0.5
    temperature: float = 1.0
    sampling_temperature: float = 1.0
    shared: Shared | Grouped | None = None
    tile_tokens: int | None = None
    forward_kl: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r}: choose one of {', '.join(KINDS)}")
        if not 0 < self.beta < 1:
            raise ValueError(f"beta={self.beta}: give a number between 0 and 1")
        for name in ("temperature", "sampling_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: give a positive number")

    def tile(self, columns: int) -> int:
        """The number of positions in a tile for heads with this number of columns."""
        return self.tile_tokens or max(TILE_TOKENS, TILE_LOGITS // columns)


def divergence(
    student: Side, teacher: Side, token_ids_R: torch.Tensor, weight_R: torch.Tensor,
    options: Options,
) -> tuple[torch.Tensor, Figures]:  # fmt: skip
    """The loss `sum_t weight_t D(student_t, teacher_t)` in nats, and the figures by position.

    The loss has a gradient with respect to the student's states, head weight and bias (or its
    logits, if given). No gradient flows to the teacher or to `weight_R`, and none is stored for a
    tensor that does not train. `options.kind` is one of `kinds.KINDS`; both sides are compared over
    `options.shared` at `options.temperature`. Peak memory is a few tiles of `options.tile(V)` x V.

    Raises AssertionError if a side has fewer columns than the shared vocabulary or the numbers of
    rows differ. Source: arXiv 2605.27028 for the reverse KL.
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
    loss, *values = _Tiled.apply(
        states_RX, weight_VD, bias_V, head, teacher, token_ids_R, weight_R, options, shared,
        torch.is_grad_enabled(),
    )  # fmt: skip
    return loss, Figures(*values)


@torch.no_grad()
def figures(student: Side, teacher: Side, token_ids_R: torch.Tensor, options: Options) -> Figures:
    """The figures without the loss, for rules that weight positions by them."""
    ones_R = torch.ones(len(token_ids_R), device=token_ids_R.device)
    return divergence(student, teacher, token_ids_R, ones_R, options)[1]


def columns(side: Side) -> int:
    """The vocabulary size V of a side, including padding rows of its head."""
    return side[1].rows if isinstance(side, tuple) else side.shape[1]


def side_logits(side: Side, rows: slice) -> torch.Tensor:
    """`logits_RV` of a side at the positions `rows`, in at least fp32."""
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
        """Computes the loss, the figures and the gradients, tile by tile."""
        wide = torch.float64 if states_RX.dtype == torch.float64 else torch.float32
        weight_R = weight_R.to(wide)
        # The head's gradient accumulates over many tiles: fp32 whatever the dtype of the weights.
        gradients = [
            torch.zeros_like(x, dtype=dtype) if x is not None and needed and grad_enabled else None
            for x, dtype, needed in zip(
                (states_RX, weight_VD, bias_V), (states_RX.dtype, wide, wide),
                ctx.needs_input_grad[:3], strict=True,
            )
        ]  # fmt: skip
        values_by_tile = []
        # At least one tile, so that an empty input gives a loss of zero.
        count = options.tile(head.rows if head else states_RX.shape[1])
        for start in range(0, max(1, len(states_RX)), count):
            rows = slice(start, start + count)
            slope_RV, values = _tile(
                _logits(states_RX[rows], head), head, side_logits(teacher, rows),
                token_ids_R[rows], weight_R[rows], options, shared,
                any(g is not None for g in gradients),
            )  # fmt: skip
            values_by_tile.append(values)
            if slope_RV is not None:
                _collect(gradients, slope_RV, states_RX[rows], weight_VD, rows)
        figures_R = tuple(torch.cat(column) for column in zip(*values_by_tile, strict=True))
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [None if x is None else x.dtype for x in (states_RX, weight_VD, bias_V)]
        ctx.mark_non_differentiable(*figures_R)
        # A position of weight 0 does not count, even if its value is not finite.
        value_R = figures_R[0].masked_fill(weight_R == 0, 0)
        return ((value_R * weight_R).sum(), *figures_R)

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
    """dloss/d(linear output) of a tile if `with_slope`, and the figures."""
    scaled_RV = _divided(logits_RV, options.temperature)
    log_q_RW, outside_q_R = shared.student(scaled_RV)
    log_p_RW, outside_p_R = shared.teacher(_divided(teacher_RV, options.temperature))
    # A tile of 150,000 columns is large: it is freed as soon as possible.
    del teacher_RV
    column_R = shared.column(token_ids_R)
    sampled_R = column_R.clamp(min=0)
    value_R, slope_RW = KINDS[options.kind](log_q_RW, log_p_RW, sampled_R, options.beta)
    kl_R = value_R if options.kind == "reverse_kl" else reverse_kl(log_q_RW, log_p_RW)[0]
    at_R1 = sampled_R[:, None]
    k1_R = (log_q_RW.gather(-1, at_R1) - log_p_RW.gather(-1, at_R1))[:, 0]
    if options.forward_kl:
        forward_R = forward_kl(log_q_RW, log_p_RW)[0].clamp(min=0)
    else:
        forward_R = torch.full_like(kl_R, torch.nan)
    logprob_R, importance_R = _sampled_logprob(shared.allowed(logits_RV), token_ids_R, options)
    if options.kind == "policy_gradient":
        counted_R = importance_R.masked_fill(column_R < 0, 0)
        value_R, slope_RW = value_R * counted_R, slope_RW * counted_R[:, None]
    values = (
        value_R,
        # Rounding can give a slightly negative value if the two agree.
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
        forward_R,
    )
    del log_q_RW, log_p_RW
    if not with_slope:
        return None, values
    factor_R1 = (weight_R / options.temperature)[:, None]
    # A position of weight 0 has no slope, even if its logits are not finite.
    slope_RW = slope_RW.mul_(factor_R1).masked_fill_(factor_R1 == 0, 0)
    slope_RV = shared.spread(slope_RW, scaled_RV)
    if head is not None and (head.softcap is not None or head.scale != 1):
        slope_RV = slope_RV * head.cap_slope(logits_RV) * head.scale
    return slope_RV, values


def _sampled_logprob(
    allowed_RV: torch.Tensor, token_ids_R: torch.Tensor, options: Options
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sampled tokens' log-probability at the sampling temperature, and their importance."""
    logit_R = allowed_RV.gather(-1, token_ids_R[:, None])[:, 0]

    def at(temperature: float) -> torch.Tensor:
        return logit_R / temperature - _divided(allowed_RV, temperature).logsumexp(-1)

    logprob_R = at(options.sampling_temperature)
    if options.temperature == options.sampling_temperature:
        return logprob_R, torch.ones_like(logprob_R)
    return logprob_R, (at(options.temperature) - logprob_R).exp()


def _entropy(log_p_RV: torch.Tensor) -> torch.Tensor:
    p_RV = log_p_RV.exp()
    # A masked token adds nothing; 0 times -inf would be NaN.
    return -p_RV.mul_(log_p_RV.clamp(min=torch.finfo(p_RV.dtype).min)).sum(-1)


def _divided(logits_RV: torch.Tensor, temperature: float) -> torch.Tensor:
    return logits_RV if temperature == 1 else logits_RV / temperature
