"""A pair of random weights at its real shapes, in place of one that would be downloaded."""

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
    """With `pair.weights=random` both models as folders of random weights; else as it is.

    Unless `drawn` the folders hold everything else.

    Raises `ConfigError` where a shape or a tokenizer is missing.
    """
    pair = config.pair
    if pair.weights == "pretrained":
        return config
    roles = ("student", "teacher")
    shapes = [shape_of(f"pair.{role}", getattr(pair, role)) for role in roles]
    # Before gigabytes are drawn that would not fit.
    needs = memory.needs(
        config, outline(shapes[0]), outline(shapes[1]), 0, config.rollout_tokens
    )  # fmt: skip
    refuse(memory.against_machine(config, needs))
    dtype = loading.pick_dtype(pair.dtype, loading.pick_device(config.execution.device))
    student = build("pair.student", pair.student, dtype, 1, config.data_dir, drawn)
    teacher = build("pair.teacher", pair.teacher, dtype, 2, config.data_dir, drawn)
    return replace(config, pair=replace(pair, student=student, teacher=teacher))
