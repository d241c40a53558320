"""Distributes the workers of a run over GPUs and cores."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from esr_cli.base.words import counted
from esr_cli.config import (
    ConfigError,
    ExecutionConfig,
    RolloutConfig,
    TeacherEngineConfig,
    TrainConfig,
)
from esr_cli.execution.seat import Seat
from esr_cli.models import loading

# Engine and teacher take turns, so a worker without a GPU counts half a core on Ray.
CPUS_WITH_GPU, CPUS_WITHOUT = 1.0, 0.5


@dataclass(frozen=True)
class Role:
    """`count` workers in `place`, of `width` GPUs each; `masked` ones see no other GPUs.

    `key` and `split` are the settings of count and width.
    """

    key: str
    split: str
    place: str
    count: int
    width: int
    masked: bool
    device: str

    @property
    def alone(self) -> bool:
        """Whether it is one worker on one device, which is the configured one."""
        return self.count == 1 and self.width == 1

    @property
    def gpus(self) -> int:
        """The GPUs of this machine that its processes take."""
        here = self.place != "ray" and self.device.startswith("cuda")
        return self.count * self.width if here else 0

    @property
    def said(self) -> str:
        """The setting that makes the role as large as it is."""
        if self.count == 1 and self.width > 1:
            return f"{self.split}={self.width}"
        return f"{self.key}={self.count}"


def of_engines(
    rollout: RolloutConfig, execution: ExecutionConfig, teacher: TeacherEngineConfig | None = None
) -> list[Seat]:
    """A seat for each engine; `teacher` is given if teachers compute in the same run.

    Raises `ConfigError` if one finds no place.
    """
    return _seats(rollout, execution, teacher)[0]


def of_teachers(
    rollout: RolloutConfig, execution: ExecutionConfig, teacher: TeacherEngineConfig
) -> list[Seat]:
    """A seat for each teacher."""
    return _seats(rollout, execution, teacher)[1]


def of_trainers(config: TrainConfig) -> list[Seat]:
    """A seat for each rank of several trainers; none if one trains in this process."""
    return _seats(config.rollout, config.placed, config.teacher)[2]


def check_places(config: TrainConfig) -> str:
    """Reserves the places of all workers on Ray; a line on the cluster, empty without Ray.

    Raises `ConfigError` if a worker finds no place, or if Ray is missing.
    """
    roles = _seats(config.rollout, config.placed, config.teacher)
    on_ray = [each for seats in roles for each in seats if each.cpus]
    if not on_ray:
        return ""
    from esr_cli.execution import cluster

    return cluster.reserve(config.execution.address, on_ray, _trainers_gpus(config.execution))


def need_free(execution: ExecutionConfig, seats: Sequence[Seat]) -> None:
    """Raises `ConfigError` if seats on Ray do not fit now, unless this run has reserved them."""
    on_ray = [each for each in seats if each.cpus]
    if on_ray:
        from esr_cli.execution import cluster

        cluster.need_free(execution.address, on_ray, _trainers_gpus(execution))


def described(config: TrainConfig) -> str:
    """Where trainer, engines and teachers compute, in words."""
    engines, teachers, trainers = _seats(config.rollout, config.placed, config.teacher)
    kind = _split(config.rollout.engine, config.rollout.tensor_parallel)
    engine = _said("engine", kind, config.execution.engine, engines)
    if config.teacher.engine == "server":
        teacher = f"{counted(len(config.teacher.urls), 'server')} as teacher"
    else:
        kind = _split(config.teacher.engine, _teachers_width(config.teacher))
        if config.pair.teachers:
            kind += f", {len(config.pair.all_teachers)} models"
        teacher = _said("teacher", kind, config.execution.teacher, teachers)
    trainer = f"trainer on {loading.pick_device(config.execution.device)}"
    if trainers:
        trainer = _said("trainer", "FSDP2", config.execution.engine, trainers)
    return f"{trainer}; {engine}; {teacher}"


def _split(kind: str, width: int) -> str:
    """`vllm`, or `vllm, tensor_parallel=2`."""
    return f"{kind}, tensor_parallel={width}" if width > 1 else kind


def _teachers_width(teacher: TeacherEngineConfig) -> int:
    """The GPUs of one teacher."""
    return teacher.tensor_parallel if teacher.engine == "vllm" else 1


def _said(role: str, kind: str, place: str, seats: Sequence[Seat]) -> str:
    """`2 engines (vllm), process, on cpu with 1 thread each`."""
    seat = seats[0]
    if place == "ray":
        share = f"{seat.gpu_count} GPUs" if seat.gpu_count else f"{seat.cpus:g} CPUs"
        where = f"{share} each"
    else:
        devices = [",".join(map(str, each.gpus)) or each.device for each in seats]
        where = f"on {' and '.join(dict.fromkeys(devices))}"
        where += f" with {counted(seat.threads, 'thread')} each" if seat.threads else ""
    return f"{counted(len(seats), role)} ({kind}), {place}, {where}"


def apart(some: Sequence[Seat], others: Sequence[Seat]) -> bool:
    """Whether the workers of one role share no device with those of another."""
    on_ray = [each for each in (*some, *others) if each.cpus]
    if on_ray:
        # Ray gives each worker GPUs of its own, and cores are counted only.
        return all(each.gpu_count for each in on_ray)

    def taken(seats: Sequence[Seat]) -> set[int | str]:
        found = set[int | str]()
        for each in seats:
            own = (_number(each.device),) if each.device.startswith("cuda") else (each.device,)
            found |= set(each.gpus or own)
        return found

    return not taken(some) & taken(others)


def beside_trainer(config: TrainConfig) -> tuple[int, int]:
    """How many engines and how many teachers take memory of the trainer's device."""
    execution = config.placed
    trainer = loading.pick_device(execution.device)
    on_gpu = trainer.startswith("cuda")

    def count(place: str, seats: Sequence[Seat]) -> int:
        if place == "ray":
            return 0 if on_gpu or execution.address != "local" else len(seats)
        if not on_gpu:
            return sum(not each.gpus and not each.device.startswith("cuda") for each in seats)
        taken = [each.gpus or (_number(each.device),) for each in seats if each.device != "cpu"]
        return sum(bool(set(_trainers_gpus(execution)) & set(gpus)) for gpus in taken)

    engines, teachers, _ = _seats(config.rollout, execution, config.teacher)
    return count(execution.engine, engines), count(execution.teacher, teachers)


def _seats(
    rollout: RolloutConfig, execution: ExecutionConfig, teacher: TeacherEngineConfig | None
) -> tuple[list[Seat], list[Seat], list[Seat]]:
    """The seats of engines, of teachers, and of the ranks if there are several."""
    masked = rollout.engine == "vllm"
    device = loading.pick_device(execution.device)
    engines = Role(
        "execution.rollouts", "rollout.tensor_parallel", execution.engine, execution.rollouts,
        rollout.tensor_parallel, masked, device,
    )  # fmt: skip
    if teacher is None:
        return _numbered(_of(engines, [engines], execution), 0), [Seat()], []
    if teacher.engine == "server":
        found = _of(engines, [engines], execution)
        return _numbered(found, 0), [Seat()], _numbered(_ranks(execution), len(found))
    masked = teacher.engine == "vllm"
    teachers = Role(
        "execution.teachers", "teacher.tensor_parallel", execution.teacher, execution.teachers,
        _teachers_width(teacher), masked,
        loading.pick_device(execution.teacher_device),
    )  # fmt: skip
    roles = [engines, teachers]
    first, second = (_of(role, roles, execution) for role in roles)
    third = _numbered(_ranks(execution), len(first) + len(second))
    return _numbered(first, 0), _numbered(second, len(first)), third


def _ranks(execution: ExecutionConfig) -> list[Seat]:
    """The seats of several trainers: on GPUs of this machine, from the configured one on."""
    if execution.trainers == 1:
        return []
    device = loading.pick_device(execution.device)
    role = Role("execution.trainers", "", execution.engine, execution.trainers, 1, False, device)
    if role.place == "ray" or not device.startswith("cuda"):
        return _of(role, [role], execution)
    _need_gpus(role, torch.cuda.device_count() - _number(device))
    return [Seat(f"cuda:{number}") for number in _trainers_gpus(execution)]


def _trainers_gpus(execution: ExecutionConfig) -> list[int]:
    """The numbers of this machine's GPUs on which the student trains."""
    device = loading.pick_device(execution.device)
    first = _number(device)
    far = execution.trainers > 1 and execution.engine == "ray"
    on_gpu = device.startswith("cuda") and not far
    return list(range(first, first + execution.trainers)) if on_gpu else []


def _numbered(seats: list[Seat], first: int) -> list[Seat]:
    """The seats with the numbers of their bundles, if they are on Ray."""
    return [
        replace(each, bundle=number) if each.cpus else each
        for number, each in enumerate(seats, first)
    ]


def _of(role: Role, roles: list[Role], execution: ExecutionConfig) -> list[Seat]:
    on_gpu = role.device.startswith("cuda")
    threads = max(1, torch.get_num_threads() // role.count)
    if role.place == "inline" and role.width > 1:
        raise ConfigError(f"{role.said}: needs execution=process or execution=ray, not inline")
    if role.place == "inline" and role.count > 1:  # several models, one after the other
        return [Seat(role.device)] * role.count
    if role.place == "ray":
        if importlib.util.find_spec("ray") is None:
            raise ConfigError('execution=ray: Ray is not installed; pip install "esr-cli[ray]"')
        cpus, width = (CPUS_WITH_GPU, role.width) if on_gpu else (role.width * CPUS_WITHOUT, 0)
        device = "auto" if on_gpu else "cpu"
        return [Seat(device, (), threads, execution.address, cpus, width)] * role.count
    if not on_gpu:
        if role.count * role.width > _cores():
            raise ConfigError(
                f"{role.said}: this machine has {_cores()} cores, and each worker takes "
                f"{role.width}; give fewer, or execution=ray on several machines"
            )
        return [Seat(role.device, (), 0 if role.alone else threads)] * role.count
    alone = execution.trainers == 1
    first = _number(loading.pick_device(execution.device))
    return _on_gpus(role, roles, [first] if alone else _trainers_gpus(execution))


def _on_gpus(role: Role, roles: list[Role], trainers: list[int]) -> list[Seat]:
    """Seats on GPUs apart from the trainers' and from each other, if there are enough.

    Otherwise the roles take turns: each begins with the trainer's GPU, or with those that several
    trainers leave. A run with one trainer, engine and teacher has them where they are configured.
    """
    there = torch.cuda.device_count()
    others = [number for number in range(there) if number not in trainers]
    apart = sum(each.gpus for each in roles) <= len(others)
    several = len(trainers) != 1
    if not several and (all(each.alone for each in roles) or (role.alone and not apart)):
        explicit = ":" in role.device and role.masked
        return [Seat(role.device, (_number(role.device),) if explicit else ())]
    before = sum(each.gpus for each in roles[: roles.index(role)])
    turns = [*others, *trainers] if several else [*trainers, *others]
    chosen = others[before:] if apart else turns
    _need_gpus(role, len(chosen))
    groups = [tuple(chosen[at : at + role.width]) for at in range(0, role.gpus, role.width)]
    return [Seat(f"cuda:{gpus[0]}", gpus if role.masked else ()) for gpus in groups]


def _need_gpus(role: Role, there: int) -> None:
    if role.gpus > there:
        each = f", {role.width} each" if role.width > 1 else ""
        raise ConfigError(
            f"{role.said}: they need {role.gpus} GPUs{each}, and there are {there}; give fewer, or "
            "execution=ray on several machines"
        )


def _cores() -> int:
    """The cores that this process may use."""
    known = getattr(os, "sched_getaffinity", None)
    return len(known(0)) if known else os.cpu_count() or 1


def _number(device: str) -> int:
    return int(device.partition(":")[2] or 0)
