"""`esr probe`: what the paper measures of a pair before it is trained, and of a run."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from esr_cli.assembly.data import Task
from esr_cli.base import files
from esr_cli.benchmarks import catalog
from esr_cli.config import ConfigError, ProbeCommandConfig, gate
from esr_cli.config.probe import PROBES
from esr_cli.plots import probes as plots
from esr_cli.probe import plan as probe_plan
from esr_cli.probe import rows as probe_rows
from esr_cli.probe.material import Material
from esr_cli.probe.settings import settings


def run(config: ProbeCommandConfig, overrides: list[str]) -> None:
    """Measures as configured; raises `ConfigError` before any model loads."""
    config = probe_plan.resolve(config, overrides)
    measure(config, probe_plan.folder_of(config, overrides))


def measure(config: ProbeCommandConfig, folder: Path, task: Task | None = None) -> None:
    """Every probe of resolved settings into `folder`; one that is there already is not made again.
    `task` is that of the settings where it is loaded already.

    Raises `ConfigError` before any model loads.
    """
    names = [name for name in PROBES if name in config.probe]
    owed = [name for name in names if not is_there(config, name, folder)]
    if owed:
        with ExitStack() as stack:
            material = _material(config, owed, folder, stack, task)
            for name in owed:
                rows = probe_rows.of(name, config, material)
                _write(config, name, folder, rows)
    for name in names:
        if name not in owed:
            print(f"{name}: already there, {folder / name}.jsonl")
        rows = files.read_rows(folder / f"{name}.jsonl")
        print(f"{name}: {probe_rows.headline(name, rows)}\n  {_picture(folder, name)}", flush=True)


def is_there(config: ProbeCommandConfig, name: str, folder: Path) -> bool:
    """Whether the probe stands in `folder`; raises `ConfigError` where it has other settings.

    What only reads files is then made anew, since an evaluation may have come since.
    """
    if not (folder / f"{name}.jsonl").exists():
        return False
    known = folder / f"{name}.yaml"
    if not known.exists() or gate.read_yaml(known) != settings(config, name):
        if name == "stability":
            return False
        raise ConfigError(
            f"out={folder}: holds {name} with other settings; choose another out, or delete its "
            f"{name}.jsonl"
        )
    return True


def _material(
    config: ProbeCommandConfig, owed: list[str], folder: Path, stack: ExitStack,
    task: Task | None,
) -> Material | None:  # fmt: skip
    if owed == ["stability"]:
        return None
    plan = probe_plan.plan(config, task)
    grader = catalog.grader(plan.benchmark.config, config.sandbox, print)
    stack.callback(grader.close)
    material = Material(plan, folder, grader)
    stack.callback(material.close)
    return material


def _write(config: ProbeCommandConfig, name: str, folder: Path, rows: list[dict[str, Any]]) -> None:
    """The rows last: where they are, all of the probe is."""
    plots.draw(name, rows, folder, _context(config))
    gate.write_yaml(settings(config, name), folder / f"{name}.yaml")
    files.write_rows(folder / f"{name}.jsonl", rows)


def _context(config: ProbeCommandConfig) -> str:
    """What a figure is of, in a few words."""
    of_run = f"run {Path(config.run).name}, " if config.run else ""
    if config.source == "task":
        return f"{of_run}pair {config.pair.name}, prompts of task {config.task.name}"
    return f"{of_run}pair {config.pair.name}, questions of {', '.join(config.benchmark)}"


def _picture(folder: Path, name: str) -> Path:
    return folder / ("samples.html" if name == "samples" else f"{name}.png")
