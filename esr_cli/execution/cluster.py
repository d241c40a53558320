"""Joins a cluster of Ray, or starts one on this machine, and checks that the workers fit."""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import ray
import torch
from ray.exceptions import RayError
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    remove_placement_group,
)
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from esr_cli.base.failures import one_line
from esr_cli.base.words import counted
from esr_cli.config import ConfigError
from esr_cli.execution.seat import VISIBLE, Seat

# Seconds for an address to answer.
ANSWER_S = 10.0
# Seconds for Ray to find places for all workers.
PLACES_S = 30.0
# Seconds that the machines of a cluster get to tell their versions.
VERSIONS_S = 60.0


def connect(address: str, trainer_gpus: Sequence[int] = ()) -> None:
    """Connects to Ray, once; `local` starts it on this machine, without the trainers' GPUs.

    Raises `ConfigError` if no cluster answers.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _need_answer(address)
    # Ray takes over SIGTERM, on which a run saves and ends.
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Its messages on deaths are ours to print, in one line.
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "local":
        options["include_dashboard"] = False
    try:
        with _hidden(trainer_gpus if address == "local" else ()):
            ray.init(address, configure_logging=False, **options)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise _no_cluster(address, error) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _hidden(gpus: Sequence[int]) -> Iterator[None]:
    """Hides GPUs of this process from the processes that it starts."""
    if not gpus:
        yield
        return
    seen = os.environ.get(VISIBLE)
    names = seen.split(",") if seen else list(map(str, range(torch.cuda.device_count())))
    os.environ[VISIBLE] = ",".join(name for at, name in enumerate(names) if at not in gpus)
    try:
        yield
    finally:
        os.environ.pop(VISIBLE)
        if seen is not None:
            os.environ[VISIBLE] = seen


def _need_answer(address: str) -> None:
    """Raises `ConfigError` if nothing listens at HOST:PORT, which Ray would wait for at length."""
    host, _, port = address.rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"execution.address={address}: no cluster of Ray answers ({one_line(str(error))[:160]}); "
        "start one with ray start --head, or give execution.address=local"
    )


def address_here() -> str:
    """The address of this worker's machine within the cluster."""
    return ray.util.get_node_ip_address()


class _Reserved:
    """The placement group of this process's workers."""

    group: PlacementGroup | None = None


def reserve(address: str, seats: Sequence[Seat], trainer_gpus: Sequence[int] = ()) -> str:
    """Reserves all seats at once; a line on the cluster. Raises `ConfigError` if they do not fit.

    A worker's GPUs are those of one machine.
    """
    need_free(address, seats, trainer_gpus)
    bundles = [{"CPU": each.cpus, "GPU": float(each.gpu_count)} for each in seats]
    filled = [{what: count for what, count in bundle.items() if count} for bundle in bundles]
    # A run that resumes after a death has its places.
    group = _Reserved.group
    if group is None or group.bundle_specs != filled:
        if group is not None:
            remove_placement_group(group)
        group = placement_group(filled, strategy="SPREAD")
    if not group.wait(PLACES_S):
        remove_placement_group(group)
        _Reserved.group = None
        widest = max(each.gpu_count for each in seats)
        raise ConfigError(
            f"execution=ray: {_machines()} cannot hold {len(seats)} workers of up to {widest} GPUs,"
            " each inside one machine; lower execution.rollouts, execution.trainers or "
            "tensor_parallel of rollout or teacher"
        )
    _Reserved.group = group
    wanted = _wanted(seats)
    places = f"{wanted['GPU']:g} GPUs" if wanted["GPU"] else f"{wanted['CPU']:g} CPUs"
    return f"{len(seats)} workers on {_machines()}, {places}"


def need_free(address: str, seats: Sequence[Seat], trainer_gpus: Sequence[int] = ()) -> None:
    """Raises `ConfigError` if the seats are neither reserved nor free, or if machines differ."""
    connect(address, trainer_gpus)
    if _Reserved.group is not None:
        return
    if address != "local":
        _need_versions([node for node in ray.nodes() if node["Alive"]])
    there, free = ray.cluster_resources(), ray.available_resources()
    for what, count in _wanted(seats).items():
        if count > free.get(what, 0):
            raise ConfigError(
                f"execution=ray: {counted(len(seats), 'worker')} need {count:g} {what}s, and of "
                f"the {there.get(what, 0):g} on {_machines()} {free.get(what, 0):g} are free; "
                "lower execution.rollouts, execution.teachers or execution.trainers, or add "
                "machines"
            )


def _wanted(seats: Sequence[Seat]) -> dict[str, float]:
    gpus, cpus = sum(each.gpu_count for each in seats), sum(each.cpus for each in seats)
    return {"GPU": gpus, "CPU": cpus}


def _machines() -> str:
    return counted(sum(node["Alive"] for node in ray.nodes()), "machine")


def strategy(bundle: int) -> Any:
    """How Ray places the worker of a bundle: where that is reserved, or on any machine."""
    group = _Reserved.group
    if group is None or not 0 <= bundle < group.bundle_count:
        return "SPREAD"
    return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)


def versions() -> dict[str, str]:
    """What all machines of a cluster must have in common."""
    return {"Python": platform.python_version(), "ray": ray.__version__, "esr": version("esr-cli")}


def _need_versions(nodes: Sequence[dict[str, Any]]) -> None:
    ours = versions()
    asked = {
        node["NodeManagerAddress"]: ray.remote(versions)
        .options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        )
        .remote()
        for node in nodes
    }
    for host, answer in asked.items():
        try:
            theirs = ray.get(answer, timeout=VERSIONS_S)
        except RayError as error:
            reason = one_line(str(error))[-160:]
            raise ConfigError(
                f"execution=ray: machine {host} cannot import esr ({reason}); install the same "
                "esr-cli there"
            ) from None
        for name, number in ours.items():
            if theirs[name] != number:
                raise ConfigError(
                    f"execution=ray: machine {host} has {name} {theirs[name]}, this one {number}; "
                    "install the same there"
                )
