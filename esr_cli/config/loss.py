"""Settings of the distillation objective."""

from __future__ import annotations

from dataclasses import dataclass

from esr_cli.config.errors import need, need_choices, one_of, some_of

DIVERGENCES = ("reverse_kl", "forward_kl", "jensen_shannon", "policy_gradient")
SELECT = ("all", "window", "top", "random", "confident", "last", "middle")
RANKS = ("reverse_kl", "student_entropy", "teacher_entropy", "forward_kl")
SHAPES = ("uniform", "linear", "exponential", "cumulative_kl")
REDUCTIONS = ("token_mean", "sequence_mean", "sequence_sum")


@dataclass
class LossConfig:
    """Divergence, token selection, weights and reduction; docs/objectives.md has the formulas.

    `temperature` divides both models' logits; it is separate from the sampling temperature. `beta`
    applies to `jensen_shannon`. `select` chooses positions: `all`; `window`, from `window_start` up
    to but excluding `window_end` (null: the end); `top`, the `keep_tokens` positions of a response
    with the highest product of the quantities in `by`; `random`, `keep_tokens` random positions;
    `last` and `middle`, the last `keep_tokens` and those in the middle; `confident`, those before
    the teacher's highest probability first falls below `confidence`. `weights` sets the position
    weights over `span_tokens`. The output heads process `tile_tokens` positions at a time (null:
    256, more for a small vocabulary), which affects memory but not the loss.
    """

    divergence: str = one_of(DIVERGENCES)
    beta: float = 0.5
    temperature: float = 1.0
    select: str = one_of(SELECT)
    keep_tokens: int = 100
    by: list[str] = some_of(RANKS, "reverse_kl")
    window_start: int = 0
    window_end: int | None = None
    confidence: float = 0.5
    weights: str = one_of(SHAPES)
    span_tokens: int = 100
    reduction: str = one_of(REDUCTIONS)
    tile_tokens: int | None = None

    def __post_init__(self) -> None:
        need_choices(self, "loss.")
        need(bool(self.by), "loss.by", self.by, f"name one or more of {', '.join(RANKS)}")
        need(0 < self.beta < 1, "loss.beta", self.beta, "give a number between 0 and 1")
        temperature = self.temperature
        fits = 0.01 <= temperature <= 100
        need(fits, "loss.temperature", temperature, "give a number in [0.01, 100]")
        confidence = self.confidence
        need(0 < confidence <= 1, "loss.confidence", confidence, "give a probability in (0, 1]")
        for key in ("keep_tokens", "span_tokens", "tile_tokens"):
            value = getattr(self, key)
            fits = value is None or value > 0
            need(fits, f"loss.{key}", value, "give a positive number of tokens")
        start, end = self.window_start, self.window_end
        need(start >= 0, "loss.window_start", start, "give 0 (the first token) or more")
        need(
            end is None or end > start, "loss.window_end", end,
            f"give a number above loss.window_start={start}, or null",
        )  # fmt: skip
