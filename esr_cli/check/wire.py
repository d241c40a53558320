"""The bytes that a step sends to other machines, by role, from the shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from esr_cli.assembly import seats, teachers, workers
from esr_cli.assembly.memory import GIB, weight_count
from esr_cli.config import TrainConfig
from esr_cli.config.finding import Finding
from esr_cli.models import loading
from esr_cli.models.outlines import trained_parameters

MIB = GIB / 1024


def mib_a_step(
    config: TrainConfig, student: Any, of_teachers: Sequence[Any], longest: int
) -> dict[str, float]:
    """MiB of tensors by role in a step whose responses all have `longest` tokens.

    Engines get the weights; from teachers come the states, of several models those of the widest.
    Token ids are small beside them. What the ranks of FSDP2 exchange among themselves is not
    counted.
    """
    execution, pair = config.placed, config.pair
    dtype = loading.pick_dtype(pair.dtype, loading.pick_device(execution.device))
    found = {}
    tokens = config.prompts_per_step * config.rollouts_per_prompt * longest
    width = max(each.config.get_text_config().hidden_size for each in of_teachers)
    if execution.engine == "ray":
        engines = seats.of_engines(config.rollout, execution, config.teacher)
        # Adapters are in fp32.
        alone = workers.adapter_of(config) is not None
        count = trained_parameters(student, config.tune) if alone else weight_count(student)
        weights = count * (4 if alone else _size(dtype))
        found["engine"] = len(engines) * weights / MIB
        if execution.trainers > 1:
            # Every rank gets all states, and the first one hands over the weights.
            states = execution.trainers * tokens * width * _size(dtype)
            found["trainer"] = (weights + states) / MIB
    if config.teacher.engine == "server":
        wire = teachers.server_settings(config, dtype)["wire"]
        found["teacher"] = tokens * width * _size(wire) / MIB
    elif execution.teacher == "ray":
        found["teacher"] = tokens * width * _size(dtype) / MIB
    return found


def findings(config: TrainConfig, models: dict[str, Any], longest: int) -> list[Finding]:
    """A line on the bytes of a step, if any leave this machine."""
    student, *of_teachers = models.values()
    found = mib_a_step(config, student, of_teachers, longest)
    said = {
        "engine": "weights to the engines",
        "teacher": "states from the teachers",
        "trainer": "states to the trainers and weights from the first",
    }
    parts = [f"{mib:,.2f} MiB of {said[role]}" for role, mib in found.items()]
    text = f"a step sends at most {' and '.join(parts)} (N={longest})"
    return [Finding("ok", "wire", text)] if found else []


def _size(dtype: str) -> int:
    return torch.empty(0, dtype=getattr(torch, dtype)).element_size()
