"""Puts the parts of a training run together; what differs between backends is settled here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli import training_data
from esr_cli.config import ExecutionConfig, ModelConfig, RolloutConfig, TrainConfig
from esr_cli.execution.remote import RemoteEngine, RemoteTeacher
from esr_cli.execution.worker import Worker, place
from esr_cli.models import loading
from esr_cli.student import Objective, Student
from esr_cli.tasks.chat import Chat
from esr_cli.tasks.lab import LabTask
from esr_cli.tasks.training import DataTask
from esr_cli.types import Sampling


@dataclass(frozen=True)
class Parts:
    """Everything the loop touches."""

    engine: RemoteEngine
    teacher: RemoteTeacher
    student: Student
    sampling: Sampling


def build_engine(kind: str, settings: dict[str, Any]) -> Any:
    """The engine itself; called where it will live, so that only there vLLM is imported."""
    if kind == "vllm":
        from esr_cli.rollout.vllm import VllmEngine

        return VllmEngine(**settings)
    from esr_cli.rollout.eager import EagerEngine

    return EagerEngine(**settings)


def build_teacher(**settings: Any) -> Any:
    """The teacher itself, where it will live."""
    from esr_cli.teacher import Teacher

    return Teacher(**settings)


def make_task(
    config: TrainConfig, student_tokenizer: Any, teacher_tokenizer: Any
) -> LabTask | DataTask:
    """The task named in the configuration; raises `ConfigError` where its data cannot be used."""
    student = Chat.of(student_tokenizer, config.pair.student)
    teacher = Chat.of(teacher_tokenizer, config.pair.teacher)
    task = config.task
    if task.name == "lab":
        return LabTask(task.chain_length, task.modulus, student, teacher, config.seed)
    return training_data.load(config, student, teacher)


def assemble(
    config: TrainConfig, folder: Path, tokenizer: Any, stack: ExitStack,
    warn: Callable[[str], None],
) -> Parts:  # fmt: skip
    """Starts the workers side by side and loads the student meanwhile; `stack` closes them.

    What a worker prints goes to `engine.log` and `teacher.log` in the run's folder.
    """
    device = loading.pick_device(config.execution.device)
    dtype = loading.pick_dtype(config.pair.dtype, device)
    engine = place_engine(
        config.rollout, config.execution, config.pair.student, dtype,
        config.pair.context_tokens, folder, warn,
    )  # fmt: skip
    teacher = place(
        config.execution.teacher, "teacher", build_teacher,
        {
            "path": config.pair.teacher.path,
            "dtype": dtype,
            "device": config.execution.teacher_device,
            "micro_batch_tokens": config.tune.micro_batch_tokens,
            "revision": config.pair.teacher.revision,
            "trust_remote_code": config.pair.teacher.trust_remote_code,
        },
        restarts=config.execution.restarts, on_restart=warn, log=str(folder / "teacher.log"),
    )  # fmt: skip
    for worker in (engine, teacher):
        stack.callback(worker.close)
        worker.start()
    far_teacher = RemoteTeacher(teacher)
    student = _student(config, dtype, device, far_teacher)
    sampling = Sampling(
        max_tokens=config.rollout_tokens,
        temperature=config.rollout.temperature,
        top_p=config.rollout.top_p,
        top_k=config.rollout.top_k,
        stop_ids=(tokenizer.eos_token_id,),
        samples=config.rollouts_per_prompt,
        seed=config.seed,
    )
    return Parts(RemoteEngine(engine), far_teacher, student, sampling)


def place_engine(
    rollout: RolloutConfig, execution: ExecutionConfig, model: ModelConfig, dtype: str,
    context_tokens: int, folder: Path, warn: Callable[[str], None],
) -> Worker:  # fmt: skip
    """The engine as a worker, not started yet; what it prints goes to `engine.log`."""
    settings: dict[str, Any] = {
        "path": loading.resolve(model.path),
        "revision": model.revision,
        "trust_remote_code": model.trust_remote_code,
        "dtype": dtype,
        "max_sequences": rollout.max_sequences,
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
        restarts=execution.restarts, remember=("load_weights",), on_restart=warn,
        log=str(folder / "engine.log"),
    )  # fmt: skip


def _student(config: TrainConfig, dtype: str, device: str, teacher: RemoteTeacher) -> Student:
    import torch

    # LoRA draws its first values at random; the same seed must give the same run.
    torch.manual_seed(config.seed)
    path, revision = config.pair.student.path, config.pair.student.revision
    trust = config.pair.student.trust_remote_code
    model = loading.load_model(path, dtype, device, revision, trust)
    if not loading.head_agrees(model, loading.head_of(model)):
        raise RuntimeError(f"{path}: its output head is more than a projection; not supported yet")
    head = teacher.head()
    rows = loading.head_of(model).weight_VD.shape[0]
    objective = Objective(
        temperature=config.loss.temperature,
        sampling_temperature=config.rollout.temperature,
        vocabulary=min(rows, head.weight_VD.shape[0]) if head else rows,
        tile_tokens=config.loss.tile_tokens,
    )
    if head is not None:
        head = head.to(device)
    return Student(model, head, config.tune, objective, config.steps)
