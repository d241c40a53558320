"""What the settings mean to the parts: how long responses become, and what trains."""

from __future__ import annotations

from esr_cli.config import TrainConfig
from esr_cli.distill.divergence import Options
from esr_cli.distill.lengths import Lengths
from esr_cli.distill.positions import Rule
from esr_cli.distill.shared import Grouped, Shared
from esr_cli.student import Objective


def lengths_of(config: TrainConfig) -> Lengths:
    """How long the responses of each step may become."""
    wanted = config.lengths
    return Lengths(
        n=config.rollout_tokens,
        full=config.pair.max_response_tokens,
        schedule=wanted.schedule,
        start=wanted.start,
        over=round(wanted.over * config.steps),
        stages=tuple((step, length) for step, length in wanted.stages),
        share=wanted.share,
        full_share=wanted.full_share,
        seed=config.seed,
    )


def objective_of(config: TrainConfig, shared: Shared | Grouped) -> Objective:
    """The configured loss, over what the pair shares."""
    loss = config.loss
    options = Options(
        kind=loss.divergence,
        beta=loss.beta,
        temperature=loss.temperature,
        sampling_temperature=config.rollout.temperature or 1.0,
        shared=shared,
        tile_tokens=loss.tile_tokens,
    )
    rule = Rule(
        select=loss.select,
        keep=loss.keep_tokens,
        by=tuple(loss.by),
        start=loss.window_start,
        end=loss.window_end,
        confidence=loss.confidence,
        shape=loss.weights,
        span=loss.span_tokens,
    )
    return Objective(options, rule, loss.reduction, config.seed)
