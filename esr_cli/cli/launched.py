"""Runs of a sweep that a launcher submits as jobs: what is checked before any is submitted."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from typing import Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

import esr_cli.config
from esr_cli.base import files
from esr_cli.base.words import counted
from esr_cli.config import ConfigError, TrainConfig, gate
from esr_cli.config.errors import need
from esr_cli.execution import slurm

LAUNCHES = re.compile(r"\+cluster=|hydra/launcher=submitit_")
ON_SLURM = ("+cluster=slurm", "hydra/launcher=submitit_slurm")
NODES = re.compile(r"\+*nodes=(.*)")
# Not among the settings of a run in the lines of a dry run.
OF_SWEEP = re.compile(r"\+*(sweep|cluster|dry_run)=|hydra[./]")


def with_nodes(command: str, arguments: Sequence[str]) -> list[str]:
    """The arguments with `nodes=4` as the setting of the launcher that it is.

    Raises `ConfigError` if it is not a whole number, or not for runs on SLURM.
    """
    changed = []
    for argument in arguments:
        if given := NODES.match(argument):
            count = given[1]
            whole = count.isascii() and count.isdigit() and int(count) > 0
            need(whole, "nodes", count, "give a whole number, 1 or more")
            on_slurm = any(each in ON_SLURM for each in arguments)
            need(on_slurm, "nodes", count, "it needs +cluster=slurm")
            argument = f"hydra.launcher.nodes={count}"
            need(
                command == "train" or int(count) == 1, "nodes", count,
                "only esr train runs on several nodes",
            )  # fmt: skip
        changed.append(argument)
    return changed


def check(command: str, schema: str, arguments: Sequence[str]) -> str:
    """Checks all runs of a sweep that is launched as jobs; the plan if it is a dry run, else empty.

    Raises `ConfigError` if a run cannot use the nodes of its job. What Hydra rejects is left to it.
    """
    if not any(LAUNCHES.match(each) for each in arguments):
        return ""
    try:
        runs = BasicSweeper.split_arguments(_overrides(arguments), None)[0]
        with hydra.initialize_config_dir(str(files.conf_dir()), version_base="1.3"):
            tree = hydra.compose(command, overrides=runs[0], return_hydra_config=True)
            launcher = dict(tree.hydra.launcher)
            trees = [hydra.compose(command, overrides=each) for each in runs]
    except (HydraException, gate.CompositionError):
        return ""
    kind = getattr(esr_cli.config, schema)
    configs = []
    for each in trees:
        try:
            configs.append(gate.read(each, kind))
        except ConfigError:
            continue  # a line of the sweep's table, which stops no other run
    for config in configs:
        check_nodes(config, launcher)
    dry = [config for config in configs if getattr(config, "dry_run", False)]
    return described(command, runs, dry[0], launcher) if dry else ""


def check_nodes(config: Any, launcher: Mapping[str, Any]) -> None:
    """Raises `ConfigError` if a run cannot use several nodes, one task each."""
    nodes = launcher.get("nodes", 1)
    need(nodes > 0, "nodes", nodes, "give a whole number, 1 or more")
    if nodes == 1:
        return
    need(isinstance(config, TrainConfig), "nodes", nodes, "only esr train runs on several nodes")
    execution, tasks = config.execution, launcher.get("tasks_per_node", 1)
    on_ray = "ray" in (execution.engine, execution.teacher)
    need(on_ray, "nodes", nodes, "a run on several machines needs execution=ray")
    need(
        execution.address in ("local", "auto"), "execution.address", execution.address,
        f"with nodes={nodes} each job starts a cluster of its own; drop it",
    )  # fmt: skip
    need(tasks == 1, "hydra.launcher.tasks_per_node", tasks, f"give 1 with nodes={nodes}")
    if importlib.util.find_spec("ray") is None:
        raise ConfigError('execution=ray: Ray is not installed; pip install "esr-cli[ray]"')


def described(
    command: str, runs: Sequence[Sequence[str]], config: Any, launcher: Mapping[str, Any]
) -> str:
    """What would be submitted, a line for each run; `config` is that of one of them."""
    nodes, gpus = launcher.get("nodes", 1), launcher.get("gpus_per_node") or 0
    amounts = {"CPUs": "cpus_per_task", "GB": "mem_gb", "minutes": "timeout_min"}
    a_node = [counted(gpus, "GPU")] + [
        f"{launcher[key]} {unit}" for unit, key in amounts.items() if launcher.get(key)
    ]
    where = f"{counted(nodes, 'node')}, one task each, with {', '.join(a_node)}"
    lines = [f"{counted(len(runs), 'job')} of {where}; nothing is submitted"]
    joined = ""
    if nodes > 1:
        number = slurm.trainer_gpu(config.execution) if gpus else None
        apart = "" if number is None else f"; the run trains on GPU {number} of the first node"
        left = nodes * gpus - (number is not None)
        lines.append(f"Ray on all nodes of a job hands out {left} GPUs{apart}")
        joined = " execution.address=HOST:PORT"
    for number, run in enumerate(runs, 1):
        settings = " ".join(each for each in run if not OF_SWEEP.match(each))
        lines.append(f"[{number}/{len(runs)}]  esr {command} {settings}{joined}")
    return "\n".join(lines)


def counts(arguments: Sequence[str]) -> dict[str, int]:
    """The number of values of each key of a sweep; empty if Hydra rejects an argument."""
    try:
        # A later override of a key replaces an earlier one.
        return {
            each.get_key_element(): len(list(each.sweep_string_iterator()))
            if each.is_sweep_override() else 1
            for each in _overrides(arguments)
        }  # fmt: skip
    except HydraException:
        return {}


def _overrides(arguments: Sequence[str]) -> list[Override]:
    """The arguments as Hydra reads them, after those of a named sweep."""
    texts = []
    for each in arguments:
        named = re.match(r"\+sweep=(\w+)$", each)
        chosen = files.conf_dir() / "sweep" / f"{named[1] if named else ''}.yaml"
        if chosen.is_file():
            params = gate.read_yaml(chosen)["hydra"]["sweeper"]["params"]
            texts += [f"{key}={value}" for key, value in params.items()]
    texts += [each for each in arguments if not each.startswith("-")]
    return OverridesParser.create().parse_overrides(texts)
