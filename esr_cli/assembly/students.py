"""The student in training: in this process, or sharded over ranks that are workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from esr_cli.assembly import seats
from esr_cli.assembly.objective import objective_of
from esr_cli.assembly.pairing import Pairing
from esr_cli.assembly.patience import patience
from esr_cli.config import ModelConfig, TrainConfig
from esr_cli.execution.restarting import RestartingWorker
from esr_cli.execution.seat import Seat
from esr_cli.execution.several import place_role
from esr_cli.models import loading, outlines
from esr_cli.student.rank import Rank
from esr_cli.student.ranks import Alone
from esr_cli.student.sides import Heads
from esr_cli.student.student import Objective, Student
from esr_cli.student.trainers import Trainers

GIB = 2**30


def make_student(
    config: TrainConfig, dtype: str, device: str, objective: Objective,
    stop_ids: tuple[int, ...], sends_adapter: bool, heads: Heads, ranks: Alone | None = None,
) -> Student:  # fmt: skip
    """Loads the student onto the device; of `ranks`, each loads it on its host and shards it."""
    # LoRA is initialized at random; the same seed must give the same run.
    torch.manual_seed(config.seed)
    spec = config.pair.student
    where = "cpu" if ranks else device
    model = loading.load_model(spec.path, dtype, where, spec.revision, spec.trust_remote_code)
    # The saved model stops at the tokens that its training rollouts stopped at.
    model.generation_config.eos_token_id = list(stop_ids)
    if ranks:
        shared = objective.options.shared
        options = replace(objective.options, shared=shared.to(device) if shared else None)
        objective = replace(objective, options=options)
        heads = {name: head and head.to(device) for name, head in heads.items()}
    return Student(model, heads, config.tune, objective, config.steps, sends_adapter, ranks)


def build_rank(settings: dict[str, Any], seat: Seat) -> Rank:
    """Builds a rank in its own process."""
    seat.take()
    device = loading.pick_device(seat.device)
    device = "cuda:0" if device == "cuda" else device
    host = "127.0.0.1"
    if seat.cpus:
        from esr_cli.execution import cluster

        host = cluster.address_here()

    def make(heads: Heads, ranks: Alone) -> Student:
        return make_student(**settings, device=device, heads=heads, ranks=ranks)

    return Rank(make, device, host)


def place_trainers(
    config: TrainConfig, dtype: str, pairing: Pairing, sends_adapter: bool, folder: Path,
    warn: Callable[[str], None],
) -> Trainers:  # fmt: skip
    """The ranks as workers, not started yet; the output of each goes to a log."""
    execution, spec = config.execution, config.pair.student
    settings = {
        "config": config, "dtype": dtype, "stop_ids": pairing.stop_ids,
        "objective": objective_of(config, pairing.shared), "sends_adapter": sends_adapter,
    }  # fmt: skip
    waits = patience(execution, spec, execution.device)
    chosen = seats.of_trainers(config)
    seats.need_free(execution, chosen)
    workers = place_role(
        "trainer", execution.engine, build_rank, {"settings": settings}, chosen, folder,
        warn=warn, patience=waits,
    )  # fmt: skip
    outline = partial(_outline, spec, dtype, pairing.stop_ids)
    gib = outlines.checkpoint_bytes(outlines.skeleton(spec), config.tune, dtype) / GIB
    ranks, of_torch = cast(list[RestartingWorker], workers), getattr(torch, dtype)
    in_shards = execution.in_shards(gib)
    return Trainers(ranks, outline, config.tune, config.steps, of_torch, in_shards)


def _outline(spec: ModelConfig, dtype: str, stop_ids: tuple[int, ...]) -> Any:
    """The student without weights, with the settings that its model folder gets."""
    model = outlines.skeleton(spec).to(getattr(torch, dtype))
    model.generation_config = loading.load_generation(spec.path, spec.revision, model.config)
    model.generation_config.eos_token_id = list(stop_ids)
    return model
