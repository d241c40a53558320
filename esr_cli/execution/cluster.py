"""Joins a cluster of Ray, or starts one on this machine, and checks that the workers fit."""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from esr_cli.base.failures import one_line
from esr_cli.config import ConfigError
from esr_cli.execution.seat import Seat

# Seconds for an address to answer.
ANSWER_S = 10.0
# Seconds that the machines of a cluster get to tell their versions.
VERSIONS_S = 60.0


def connect(address: str) -> None:
    """Connects to Ray, once; `local` starts it on this machine.

    Raises `ConfigError` if no cluster answers.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _need_answer(address)
    # Ray takes over SIGTERM, on which a run saves and ends.
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Its messages on deaths are ours to tell, in one line.
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "local":
        options["include_dashboard"] = False
    try:
        ray.init(address, configure_logging=False, **options)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise _no_cluster(address, error) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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


def need_room(address: str, seats: Sequence[Seat]) -> str:
    """A line on the cluster, in which all seats find a place now; else raises `ConfigError`."""
    connect(address)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if address != "local":
        _need_versions(nodes)
    there, free = ray.cluster_resources(), ray.available_resources()
    wanted = {"GPU": sum(each.gpu_count for each in seats), "CPU": sum(each.cpus for each in seats)}
    machines = f"{len(nodes)} machine{'s' if len(nodes) > 1 else ''}"
    for what, count in wanted.items():
        if count > free.get(what, 0):
            raise ConfigError(
                f"execution=ray: {len(seats)} workers need {count:g} {what}s, and of the "
                f"{there.get(what, 0):g} on {machines} {free.get(what, 0):g} are free; lower "
                "execution.rollouts or execution.teachers, or add machines"
            )
    widest = max(each.gpu_count for each in seats)
    most = max(node["Resources"].get("GPU", 0) for node in nodes)
    if widest > most:
        raise ConfigError(
            f"execution=ray: a worker needs {widest} GPUs of one machine, and none has more than "
            f"{most:g}; lower teacher.tensor_parallel"
        )
    places = f"{wanted['GPU']:g} GPUs" if wanted["GPU"] else f"{wanted['CPU']:g} CPUs"
    return f"{len(seats)} workers on {machines}, {places}"


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
