"""Assembles the parts of a training run; the differences between backends are handled here."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.assembly import seats, several_teachers
from esr_cli.assembly.objective import lengths_of, objective_of
from esr_cli.assembly.pairing import Pairing
from esr_cli.assembly.patience import patience
from esr_cli.assembly.students import make_student, place_trainers
from esr_cli.base import process
from esr_cli.config import (
    ExecutionConfig,
    ModelConfig,
    RolloutConfig,
    TeacherEngineConfig,
    TrainConfig,
)
from esr_cli.config.train import MOST_RANK
from esr_cli.distill.head import Head
from esr_cli.distill.lengths import Lengths
from esr_cli.execution import processes
from esr_cli.execution.remote import RestorableEngine
from esr_cli.execution.scoring import Teachers, TeachersByName
from esr_cli.execution.seat import Seat
from esr_cli.execution.several import Engines, Workers, place_role
from esr_cli.models import loading
from esr_cli.student.student import Student
from esr_cli.student.trainers import Trainers
from esr_cli.types import Adapter, Sampling


@dataclass(frozen=True)
class Parts:
    """The parts that the training loop uses; `began` is the clock when their start began."""

    engine: Engines
    teacher: Teachers | TeachersByName
    student: Student | Trainers
    sampling: Sampling
    lengths: Lengths
    began: float

    def wait_ready(self) -> float:
        """Waits until engine and teacher are built; returns the seconds of the whole start."""
        for role in (self.engine, self.teacher):
            role.peak_gib()
        return time.perf_counter() - self.began

    def take_notes(self) -> list[str]:
        """What engine and teacher have noted for the log since the last call."""
        return [*self.engine.take_notes(), *self.teacher.take_notes()]

    def wire(self) -> dict[str, float]:
        """The MiB of tensors to and from other machines since the last call; empty if none."""
        roles: dict[str, Workers] = {"engine": self.engine, "teacher": self.teacher}
        if isinstance(self.student, Trainers):
            roles["trainer"] = self.student
        found = {f"wire/{name}_mib": role.take_wire_mib() for name, role in roles.items()}
        return {key: value for key, value in found.items() if value}


def build_engine(kind: str, settings: dict[str, Any], seat: Seat) -> Any:
    """Builds the engine in its own process, so that vLLM is imported only there."""
    seat.take()
    if kind == "vllm":
        from esr_cli.rollout.vllm import VllmEngine

        return RestorableEngine(VllmEngine(**settings))
    from esr_cli.rollout.eager import EagerEngine

    return RestorableEngine(EagerEngine(**settings, device=loading.pick_device(seat.device)))


def assemble(
    config: TrainConfig, folder: Path, pairing: Pairing, stack: ExitStack,
    warn: Callable[[str], None], canary: Path | None = None,
) -> Parts:  # fmt: skip
    """Starts the workers in parallel and loads the student meanwhile; `stack` closes them.

    The workers' output goes to `engine.log`, `engine-2.log`, … and `teacher.log`, … in the run's
    folder; the teacher's first states for a fixed text into the file `canary`.
    """
    began = time.perf_counter()
    process.keep_freed_memory()
    pair, execution = config.pair, config.placed
    device = loading.pick_device(execution.device)
    dtype = loading.pick_dtype(pair.dtype, device)
    engine = place_engines(
        config.rollout, execution, pair.student, dtype, pair.context_tokens, folder, warn,
        masked_ids(pair.student, pairing), config.teacher, adapter_of(config),
    )  # fmt: skip
    teacher = several_teachers.place(config, dtype, pairing, folder, warn, canary)
    sends_adapter = adapter_of(config) is not None
    trainers = None
    if execution.trainers > 1:
        trainers = place_trainers(config, dtype, pairing, sends_adapter, folder, warn)
    for worker in filter(None, (engine, teacher, trainers)):
        stack.callback(worker.close)
        worker.start()
    # A resumed run may need fewer processes than its command line suggested.
    processes.discard_prelaunched()
    if trainers and trainers.in_shards:
        trainers.need_folder(folder)
    heads = teacher.heads()
    student: Student | Trainers
    if trainers:
        trainers.join(_moved(heads, "cpu"))
        student = trainers
    else:
        # Device memory shared by another process is undefined once that process has exited.
        separate = execution.teacher == "process" and device.startswith("cuda")
        objective = objective_of(config, pairing.shared.to(device))
        student = make_student(
            config, dtype, device, objective, pairing.stop_ids, sends_adapter,
            _moved(heads, device, separate),
        )  # fmt: skip
    for role, splits in (("student", student.splits), ("teacher", all(heads.values()))):
        if not splits:
            warn(f"the {role}'s output head is more than a projection: its exact logits are used")
    sampling = Sampling(
        max_tokens=config.rollout_tokens,
        temperature=config.rollout.temperature,
        top_p=config.rollout.top_p,
        top_k=config.rollout.top_k,
        stop_ids=pairing.stop_ids,
        samples=config.rollouts_per_prompt,
        seed=config.seed,
        shared_only=True,
    )
    return Parts(engine, teacher, student, sampling, lengths_of(config), began)


def _moved(
    heads: dict[str, Head | None], device: str, copy: bool = False
) -> dict[str, Head | None]:
    return {name: head and head.to(device, copy=copy) for name, head in heads.items()}


def weights_of(config: TrainConfig) -> str:
    """What the engines get: `merged` weights, or the `adapter` of a LoRA student alone."""
    tune, weights = config.tune, config.rollout.weights
    if weights != "auto":
        return weights
    fits = tune.method == "lora" and tune.rank <= MOST_RANK
    return "adapter" if fits and config.execution.engine == "ray" else "merged"


def adapter_of(config: TrainConfig) -> Adapter | None:
    """The LoRA adapter that the engines get in place of merged weights, if they get one."""
    alone = weights_of(config) == "adapter"
    return Adapter(config.tune.rank, config.tune.alpha) if alone else None


def masked_ids(student: ModelConfig, pairing: Pairing) -> tuple[int, ...]:
    """The student's ids that are masked out in training rollouts, as the teacher lacks them."""
    shape = loading.load_shape(student.path, student.revision, student.trust_remote_code)
    return pairing.shared.masked(shape.vocab_size)


def place_engines(
    rollout: RolloutConfig, execution: ExecutionConfig, model: ModelConfig, dtype: str,
    context_tokens: int, folder: Path, warn: Callable[[str], None],
    masked_ids: tuple[int, ...] = (), teacher: TeacherEngineConfig | None = None,
    adapter: Adapter | None = None,
) -> Engines:  # fmt: skip
    """The engines as workers, not started yet; the output of each goes to a log.

    `teacher` is given if teachers compute in the same run.
    """
    settings: dict[str, Any] = {
        "path": loading.resolve(model.path),
        "revision": model.revision,
        "trust_remote_code": model.trust_remote_code,
        "dtype": dtype,
        "max_sequences": rollout.max_sequences,
        "masked_ids": masked_ids,
        "adapter": adapter,
    }
    if rollout.engine == "vllm":
        settings |= {
            "max_model_len": context_tokens,
            "gpu_memory_utilization": rollout.gpu_memory_utilization,
            "tensor_parallel": rollout.tensor_parallel,
            "seeds": rollout.seeds,
        }
    waits = patience(execution, model, execution.device)
    chosen = seats.of_engines(rollout, execution, teacher)
    seats.need_free(execution, chosen)
    placed = place_role(
        "engine", execution.engine, build_engine, {"kind": rollout.engine, "settings": settings},
        chosen, folder, restarts=execution.restarts, remember=("load_weights",), warn=warn,
        patience=waits,
    )  # fmt: skip
    return Engines(placed, by_host=any(seat.gpus for seat in chosen))
