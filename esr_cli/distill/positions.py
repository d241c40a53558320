"""The weight (0 or more) of each position of a response in the loss.

A rule reads one response at a time: its `Figures` by name, T values each, in order. Its weights
are relative; the reduction (see `reduced`) divides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

Values = Mapping[str, torch.Tensor]

# Criteria by which positions can be ranked, and the figure that holds each.
RANKS = {
    "reverse_kl": "kl_R",
    "student_entropy": "student_entropy_R",
    "teacher_entropy": "teacher_entropy_R",
    "forward_kl": "forward_kl_R",
}
REDUCTIONS = ("token_mean", "sequence_mean", "sequence_sum")


@dataclass(frozen=True)
class Rule:
    """Which positions train, and the shape of their weights.

    `select`:

    - `all`
    - `window`: positions start <= t < end (0-based; end None: to the last position)
    - `top`: the `keep` positions with the highest product of the figures named in `by`
      (arXiv 2605.27028, token selection)
    - `random`: `keep` random positions
    - `last`: the last `keep` usable positions
    - `middle`: `keep` usable positions in a row, with as many before as after them, or one fewer
      before
    - `confident`: positions before the first at which the teacher's highest probability is below
      `confidence`

    `shape`:

    - `uniform`
    - `linear`: falls from 1 at the first position to 0 at `span`
    - `exponential`: halves every `span` positions
    - `cumulative_kl`: the share of the response's reverse KL that is still to come, from 1 at the
      first position to 0 after the last
    """

    select: str = "all"
    keep: int = 100
    by: tuple[str, ...] = ("reverse_kl",)
    start: int = 0
    end: int | None = None
    confidence: float = 0.5
    shape: str = "uniform"
    span: int = 100

    @property
    def needs_figures(self) -> bool:
        """Whether the weights depend on the models' figures."""
        return self.select in ("top", "confident") or self.shape == "cumulative_kl"

    @property
    def needs_forward_kl(self) -> bool:
        """Whether one of these figures is the forward KL, which is not computed otherwise."""
        return self.select == "top" and "forward_kl" in self.by


def weights(rule: Rule, usable_T: torch.Tensor, values: Values, seed: int) -> torch.Tensor:
    """`weight_T` of one response, 0 wherever `usable_T` (bool) is False.

    `values` may be empty if the rule needs no figures. `seed` determines the choice of `random`.
    """
    kept_T = _SELECT[rule.select](rule, usable_T, values, seed) & usable_T
    return kept_T * _SHAPE[rule.shape](rule, usable_T, values)


def reduced(weights_of: Sequence[torch.Tensor], reduction: str) -> tuple[list[torch.Tensor], float]:
    """Normalized weights of a step's responses (or a subset), and their share of the denominator.

    The loss is the sum of weight times divergence over the step, divided by the sum of the shares:

    - `token_mean`: the weighted mean over all positions of the step
    - `sequence_mean`: the mean over responses of their weighted means; a response without a
      weighted position does not count
    - `sequence_sum`: the mean over responses of their weighted sums
    """
    if reduction == "token_mean":
        return list(weights_of), float(sum(w.sum() for w in weights_of))
    if reduction == "sequence_sum":
        return list(weights_of), float(len(weights_of))
    counted = sum(bool(w.sum() > 0) for w in weights_of)
    return [w / w.sum().clamp(min=1e-30) for w in weights_of], float(counted)


def _positions(like_T: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(like_T), device=like_T.device)


def _all(rule: Rule, usable_T: torch.Tensor, *_: object) -> torch.Tensor:
    return torch.ones_like(usable_T)


def _window(rule: Rule, usable_T: torch.Tensor, *_: object) -> torch.Tensor:
    place_T = _positions(usable_T)
    end = len(usable_T) if rule.end is None else rule.end
    return (place_T >= rule.start) & (place_T < end)


def _top(rule: Rule, usable_T: torch.Tensor, values: Values, _: int) -> torch.Tensor:
    score_T = torch.ones(len(usable_T), device=usable_T.device)
    for name in rule.by:
        score_T = score_T * values[RANKS[name]]
    return _highest(score_T.masked_fill(~usable_T, -torch.inf), rule.keep)


def _random(rule: Rule, usable_T: torch.Tensor, _: Values, seed: int) -> torch.Tensor:
    stream = torch.Generator().manual_seed(seed)
    score_T = torch.rand(len(usable_T), generator=stream).to(usable_T.device)
    return _highest(score_T.masked_fill(~usable_T, -torch.inf), rule.keep)


def _highest(score_T: torch.Tensor, keep: int) -> torch.Tensor:
    # Stable: among equal scores the earlier position is kept.
    order_T = score_T.argsort(descending=True, stable=True)
    kept_T = torch.zeros_like(score_T, dtype=torch.bool)
    kept_T[order_T[:keep]] = True
    return kept_T


def _last(rule: Rule, usable_T: torch.Tensor, *_: object) -> torch.Tensor:
    return usable_T.cumsum(0) > usable_T.sum() - rule.keep


def _middle(rule: Rule, usable_T: torch.Tensor, *_: object) -> torch.Tensor:
    place_T = usable_T.cumsum(0) - 1
    start = ((usable_T.sum() - rule.keep) // 2).clamp(min=0)
    return (place_T >= start) & (place_T < start + rule.keep)


def _confident(rule: Rule, usable_T: torch.Tensor, values: Values, _: int) -> torch.Tensor:
    doubtful_T = (values["confidence_R"] < rule.confidence) & usable_T
    return doubtful_T.cumsum(0) == 0


def _uniform(rule: Rule, usable_T: torch.Tensor, _: Values) -> torch.Tensor:
    return torch.ones(len(usable_T), device=usable_T.device)


def _linear(rule: Rule, usable_T: torch.Tensor, _: Values) -> torch.Tensor:
    return (1 - _positions(usable_T) / rule.span).clamp(min=0)


def _exponential(rule: Rule, usable_T: torch.Tensor, _: Values) -> torch.Tensor:
    return 0.5 ** (_positions(usable_T) / rule.span)


def _cumulative_kl(rule: Rule, usable_T: torch.Tensor, values: Values) -> torch.Tensor:
    kl_T = values["kl_R"] * usable_T
    before_T = kl_T.cumsum(0) - kl_T
    return 1 - before_T / kl_T.sum().clamp(min=1e-30)


_SELECT: dict[str, Callable[[Rule, torch.Tensor, Values, int], torch.Tensor]] = {
    "all": _all,
    "window": _window,
    "top": _top,
    "random": _random,
    "confident": _confident,
    "last": _last,
    "middle": _middle,
}
_SHAPE: dict[str, Callable[[Rule, torch.Tensor, Values], torch.Tensor]] = {
    "uniform": _uniform,
    "linear": _linear,
    "exponential": _exponential,
    "cumulative_kl": _cumulative_kl,
}
SELECTORS, SHAPES = tuple(_SELECT), tuple(_SHAPE)
