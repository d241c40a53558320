"""Turns settings into the schedule of response lengths and the loss."""

from __future__ import annotations

from esr_cli.config import TrainConfig
from esr_cli.distill.divergence import Options
from esr_cli.distill.lengths import Lengths
from esr_cli.distill.positions import Rule
from esr_cli.distill.shared import Grouped, Shared
from esr_cli.student.student import Objective


def lengths_of(config: TrainConfig) -> Lengths:
    """The maximal response lengths of each step."""
    settings = config.lengths
    return Lengths(
        n=config.rollout_tokens,
        full=config.pair.max_response_tokens,
        schedule=settings.schedule,
        start=settings.start,
        over=round(settings.over * config.steps),
        stages=tuple((step, length) for step, length in settings.stages),
        share=settings.share,
        full_share=settings.full_share,
        full_in=settings.full_in,
        seed=config.seed,
    )


def cuts(config: TrainConfig) -> bool:
    """Whether a step of the run may cut rollouts below `pair.max_response_tokens`."""
    planned = lengths_of(config)
    if planned.full_share == 1:
        return False
    return planned.schedule == "random" or any(
        planned.n_at(step) < planned.full for step in range(config.steps)
    )


def objective_of(config: TrainConfig, shared: Shared | Grouped) -> Objective:
    """The configured loss over the tokens or classes that the pair shares."""
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


def trained_positions(config: TrainConfig, steps: int) -> tuple[int, int] | None:
    """The positions that the loss of a run's first `steps` steps can cover: 0-based, end excluded.

    None if the selection may take any position of a response.
    """
    loss = config.loss
    if loss.select not in ("all", "window"):
        return None
    lengths, count = lengths_of(config), config.prompts_per_step * config.rollouts_per_prompt
    ends = [max(max(lengths.lengths_at(step, count)) for step in range(steps))]
    if loss.select == "window" and loss.window_end is not None:
        ends.append(loss.window_end)
    if loss.weights == "linear":
        ends.append(loss.span_tokens)
    return (loss.window_start if loss.select == "window" else 0), min(ends)
