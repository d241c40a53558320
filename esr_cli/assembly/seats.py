"""Distributes the workers of a run over GPUs and cores."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

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
    """`count` workers of `width` GPUs each; `masked` ones see no other GPUs."""

    key: str
    count: int
    width: int
    masked: bool
    device: str


def of_engines(
    rollout: RolloutConfig, execution: ExecutionConfig, teacher: TeacherEngineConfig | None = None
) -> list[Seat]:
    """A seat for each engine; `teacher` is given if teachers compute in the same run."""
    return _seats(execution, 0, _engines(rollout, execution), _teachers(teacher, execution))


def of_teachers(
    rollout: RolloutConfig, execution: ExecutionConfig, teacher: TeacherEngineConfig
) -> list[Seat]:
    """A seat for each teacher."""
    return _seats(execution, 1, _engines(rollout, execution), _teachers(teacher, execution))


def check_places(config: TrainConfig) -> str:
    """A line on the cluster on which the workers find their places, empty without Ray.

    Raises `ConfigError` if one finds none, or if Ray is missing.
    """
    execution = config.execution
    on_ray = "ray" in (execution.engine, execution.teacher)
    if on_ray and importlib.util.find_spec("ray") is None:
        raise ConfigError('execution=ray: Ray is not installed; pip install "esr-cli[ray]"')
    places = of_engines(config.rollout, execution, config.teacher)
    places += of_teachers(config.rollout, execution, config.teacher)
    if not on_ray:
        return ""
    from esr_cli.execution import cluster

    return cluster.need_room(execution.address, [each for each in places if each.cpus])


def beside_trainer(config: TrainConfig) -> tuple[int, int]:
    """How many engines and how many teachers take memory of the trainer's device.

    Raises `ConfigError` if a worker finds no place.
    """
    execution = config.execution
    trainer = loading.pick_device(execution.device)
    number = int(trainer.partition(":")[2] or 0)

    def count(place: str, seats: Sequence[Seat]) -> int:
        if place == "ray" and execution.address != "local":
            return 0
        if not trainer.startswith("cuda"):
            return sum(not each.gpus and not each.device.startswith("cuda") for each in seats)
        apart = [each.gpus or tuple(map(int, each.device.split(":")[1:])) for each in seats]
        return sum(not gpus or number in gpus for gpus in apart)

    engines = of_engines(config.rollout, execution, config.teacher)
    teachers = of_teachers(config.rollout, execution, config.teacher)
    return count(execution.engine, engines), count(execution.teacher, teachers)


def _engines(rollout: RolloutConfig, execution: ExecutionConfig) -> Role:
    masked = rollout.engine == "vllm"
    return Role("execution.rollouts", execution.rollouts, 1, masked, execution.device)


def _teachers(teacher: TeacherEngineConfig | None, execution: ExecutionConfig) -> Role | None:
    if teacher is None or teacher.engine == "server":
        return None
    masked = teacher.engine == "vllm"
    width = teacher.tensor_parallel if masked else 1
    return Role("execution.teachers", execution.teachers, width, masked, execution.teacher_device)


def _seats(
    execution: ExecutionConfig, which: int, engines: Role, teachers: Role | None
) -> list[Seat]:  # fmt: skip
    roles = [engines, *([teachers] if teachers else [])]
    if which >= len(roles):
        return [Seat()]
    role = roles[which]
    place = execution.engine if role is engines else execution.teacher
    on_gpu = loading.pick_device(role.device).startswith("cuda")
    threads = max(1, torch.get_num_threads() // role.count)
    if place == "ray":
        cpus = CPUS_WITH_GPU if on_gpu else CPUS_WITHOUT
        width = role.width if on_gpu else 0
        seat = Seat("auto" if on_gpu else "cpu", (), threads, execution.address, cpus, width)
        return [seat] * role.count
    if role.count == 1 and role.width == 1:
        return [Seat(loading.pick_device(role.device))]
    if not on_gpu:
        if role.count > torch.get_num_threads():
            raise ConfigError(
                f"{role.key}={role.count}: this machine computes with "
                f"{torch.get_num_threads()} threads; give at most as many workers"
            )
        return [Seat("cpu", (), threads)] * role.count
    return list(_on_gpus(roles, role))


def _on_gpus(roles: list[Role], role: Role) -> Iterator[Seat]:
    """GPUs apart from those of the trainer and the other role, if there are enough of them.

    Otherwise each role begins with the first GPU, where the trainer is: the roles take turns.
    """
    there = torch.cuda.device_count()
    apart = 1 + sum(each.count * each.width for each in roles) <= there
    before = sum(each.count * each.width for each in roles[: roles.index(role)])
    first = 1 + before if apart else 0
    wanted = role.count * role.width
    if first + wanted > there:
        raise ConfigError(
            f"{role.key}={role.count}: they need {wanted} GPUs, and there are {there}; give fewer, "
            "or execution=ray on several machines"
        )
    for at in range(first, first + wanted, role.width):
        gpus = tuple(range(at, at + role.width))
        yield Seat("auto", gpus) if role.masked else Seat(f"cuda:{at}")
