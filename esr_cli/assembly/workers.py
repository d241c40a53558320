"""Assembles the parts of a training run; the differences between backends are handled here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.assembly.objective import lengths_of, objective_of
from esr_cli.assembly.pairing import Pairing
from esr_cli.assembly.patience import patience
from esr_cli.base import process
from esr_cli.config import ExecutionConfig, ModelConfig, RolloutConfig, TrainConfig
from esr_cli.distill.lengths import Lengths
from esr_cli.execution import processes
from esr_cli.execution.remote import RemoteEngine, RemoteTeacher, RestorableEngine
from esr_cli.execution.worker import Worker, place
from esr_cli.models import loading
from esr_cli.student.student import Student
from esr_cli.types import Sampling


@dataclass(frozen=True)
class Parts:
    """The parts that the training loop uses."""

    engine: RemoteEngine
    teacher: RemoteTeacher
    student: Student
    sampling: Sampling
    lengths: Lengths


def build_engine(kind: str, settings: dict[str, Any]) -> Any:
    """Builds the engine in its own process, so that vLLM is imported only there."""
    process.keep_freed_memory()
    if kind == "vllm":
        from esr_cli.rollout.vllm import VllmEngine

        return RestorableEngine(VllmEngine(**settings))
    from esr_cli.rollout.eager import EagerEngine

    return RestorableEngine(EagerEngine(**settings))


def build_teacher(**settings: Any) -> Any:
    """Builds the teacher in its own process."""
    process.keep_freed_memory()
    from esr_cli.teacher.teacher import Teacher

    return Teacher(**settings)


def assemble(
    config: TrainConfig, folder: Path, pairing: Pairing, stack: ExitStack,
    warn: Callable[[str], None],
) -> Parts:  # fmt: skip
    """Starts the workers in parallel and loads the student meanwhile; `stack` closes them.

    The workers' output goes to `engine.log` and `teacher.log` in the run's folder.
    """
    process.keep_freed_memory()
    pair, execution = config.pair, config.execution
    device = loading.pick_device(execution.device)
    dtype = loading.pick_dtype(pair.dtype, device)
    engine = place_engine(
        config.rollout, execution, pair.student, dtype, pair.context_tokens, folder, warn,
        masked_ids(pair.student, pairing),
    )  # fmt: skip
    teacher = place_teacher(config, dtype, pairing, folder, warn)
    for worker in (engine, teacher):
        stack.callback(worker.close)
        worker.start()
    # A resumed run may need fewer processes than its command line suggested.
    processes.discard_prelaunched()
    remote_teacher = RemoteTeacher(teacher)
    student = _student(config, dtype, device, remote_teacher, pairing, warn)
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
    return Parts(RemoteEngine(engine), remote_teacher, student, sampling, lengths_of(config))


def masked_ids(student: ModelConfig, pairing: Pairing) -> tuple[int, ...]:
    """The student's ids that are masked out in training rollouts, as the teacher lacks them."""
    shape = loading.load_shape(student.path, student.revision, student.trust_remote_code)
    return pairing.shared.masked(shape.vocab_size)


def place_engine(
    rollout: RolloutConfig, execution: ExecutionConfig, model: ModelConfig, dtype: str,
    context_tokens: int, folder: Path, warn: Callable[[str], None],
    masked_ids: tuple[int, ...] = (),
) -> Worker:  # fmt: skip
    """The engine as a worker, not started yet; its output goes to `engine.log`."""
    settings: dict[str, Any] = {
        "path": loading.resolve(model.path),
        "revision": model.revision,
        "trust_remote_code": model.trust_remote_code,
        "dtype": dtype,
        "max_sequences": rollout.max_sequences,
        "masked_ids": masked_ids,
    }
    if rollout.engine == "eager":
        settings |= {"device": loading.pick_device(execution.device)}
    else:
        settings |= {
            "max_model_len": context_tokens,
            "gpu_memory_utilization": rollout.gpu_memory_utilization,
        }
    return place(
        execution.engine, "engine", build_engine,
        {"kind": rollout.engine, "settings": settings},
        restarts=execution.restarts, remember=("load_weights",), warn=warn,
        log=str(folder / "engine.log"), patience=patience(execution, model, execution.device),
    )  # fmt: skip


def place_teacher(
    config: TrainConfig, dtype: str, pairing: Pairing, folder: Path, warn: Callable[[str], None]
) -> Worker:
    """The teacher as a worker, not started yet; its output goes to `teacher.log`."""
    teacher, execution = config.pair.teacher, config.execution
    return place(
        execution.teacher, "teacher", build_teacher,
        {
            "path": teacher.path,
            "dtype": dtype,
            "device": execution.teacher_device,
            "micro_batch_tokens": config.tune.micro_batch_tokens,
            "revision": teacher.revision,
            "reader": pairing.reader,
            "columns": pairing.columns,
            "trust_remote_code": teacher.trust_remote_code,
            "compiled": config.tune.compile,
        },
        restarts=execution.restarts, warn=warn, log=str(folder / "teacher.log"),
        patience=patience(execution, teacher, execution.teacher_device),
    )  # fmt: skip


def _student(
    config: TrainConfig, dtype: str, device: str, teacher: RemoteTeacher, pairing: Pairing,
    warn: Callable[[str], None],
) -> Student:  # fmt: skip
    import torch

    # LoRA is initialized at random; the same seed must give the same run.
    torch.manual_seed(config.seed)
    spec = config.pair.student
    model = loading.load_model(spec.path, dtype, device, spec.revision, spec.trust_remote_code)
    # The saved model stops at the tokens that its training rollouts stopped at.
    model.generation_config.eos_token_id = list(pairing.stop_ids)
    head = teacher.head()
    if head is not None:
        # Device memory shared by another process is undefined once that process has exited.
        separate = config.execution.teacher == "process" and device.startswith("cuda")
        head = head.to(device, copy=separate)
    objective = objective_of(config, pairing.shared.to(device))
    student = Student(model, head, config.tune, objective, config.steps)
    for role, splits in (("student", student.splits), ("teacher", head is not None)):
        if not splits:
            warn(f"the {role}'s output head is more than a projection: its exact logits are used")
    return student
