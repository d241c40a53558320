"""A pair of models with random weights at their real shapes, so that nothing is downloaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from esr_cli.assembly import memory
from esr_cli.config import TrainConfig
from esr_cli.config.finding import refuse
from esr_cli.models import loading
from esr_cli.models.outlines import outline
from esr_cli.models.random_weights import build, shape_of

Config = TypeVar("Config", bound=TrainConfig)


def with_random_weights(config: Config, drawn: bool = True) -> Config:
    """With `pair.weights=random` points both models at folders of random weights; else no change.

    With `drawn=False` the folders hold everything but the weights.

    Raises `ConfigError` if a shape or a tokenizer is missing.
    """
    pair = config.pair
    if pair.weights == "pretrained":
        return config
    roles = ("student", "teacher")
    shapes = [shape_of(f"pair.{role}", getattr(pair, role)) for role in roles]
    # Checked before gigabytes of weights are generated that would not fit.
    needs = memory.needs(
        config, outline(shapes[0]), [outline(shapes[1])], 0, config.rollout_tokens
    )  # fmt: skip
    refuse(memory.against_machine(config, needs))
    dtype = loading.pick_dtype(pair.dtype, loading.pick_device(config.execution.device))
    student = build("pair.student", pair.student, dtype, 1, config.data_dir, drawn)
    teacher = build("pair.teacher", pair.teacher, dtype, 2, config.data_dir, drawn)
    return replace(config, pair=replace(pair, student=student, teacher=teacher))
