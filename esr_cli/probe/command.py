"""`esr probe`: the paper's measurements on a pair before training, and on a run."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from esr_cli.assembly import templates
from esr_cli.assembly.data import Task
from esr_cli.base import files
from esr_cli.base.words import counted
from esr_cli.benchmarks import catalog
from esr_cli.config import ConfigError, ProbeCommandConfig, gate
from esr_cli.config.finding import refuse
from esr_cli.config.probe import PROBES
from esr_cli.plots import probes as plots
from esr_cli.probe import plan as probe_plan
from esr_cli.probe import rows as probe_rows
from esr_cli.probe.material import Material
from esr_cli.probe.settings import settings


def run(config: ProbeCommandConfig, overrides: list[str]) -> None:
    """Runs the configured probes; raises `ConfigError` before any model loads."""
    config = probe_plan.resolve(config, overrides)
    measure(config, probe_plan.folder_of(config, overrides))


def measure(config: ProbeCommandConfig, folder: Path, task: Task | None = None) -> None:
    """Runs every probe of resolved settings that is not in `folder` yet, and prints the headlines.

    `task` is the task of the settings, if it is loaded already.

    Raises `ConfigError` before any model loads.
    """
    names = [name for name in PROBES if name in config.probe]
    missing = [name for name in names if not is_there(config, name, folder)]
    if missing:
        with ExitStack() as stack:
            material = _material(config, missing, folder, stack, task)
            for name in missing:
                rows = probe_rows.of(name, config, material)
                if material:
                    rows = [{**row, "prompts": material.plan.prompts} for row in rows]
                _write(config, name, folder, rows)
    for name in names:
        if name not in missing:
            print(f"{name}: already there, {folder / name}.jsonl")
        rows = files.read_rows(folder / f"{name}.jsonl")
        asked = (
            f" ({counted(rows[0]['prompts'], 'prompt')})" if rows and "prompts" in rows[0] else ""
        )
        print(f"{name}{asked}: {probe_rows.headline(name, rows)}", flush=True)
        print(f"  {_picture(folder, name)}", flush=True)


def is_there(config: ProbeCommandConfig, name: str, folder: Path) -> bool:
    """Whether `folder` holds the probe; raises `ConfigError` if it was made with other settings.

    Stability only reads files, so it is recomputed instead: evaluations may have been added.
    """
    if not (folder / f"{name}.jsonl").exists():
        return False
    saved = folder / f"{name}.yaml"
    if not saved.exists() or gate.read_yaml(saved) != settings(config, name):
        if name == "stability":
            return False
        raise ConfigError(
            f"run_dir={folder}: holds {name} with other settings; choose another, or delete its "
            f"{name}.jsonl"
        )
    return True


def _material(
    config: ProbeCommandConfig, missing: list[str], folder: Path, stack: ExitStack,
    task: Task | None,
) -> Material | None:  # fmt: skip
    if missing == ["stability"]:
        return None
    plan = probe_plan.plan(config, task)
    both = plan.tokenizers["student"], plan.tokenizers["teacher"]
    refuse(templates.of_pair(config.pair, plan.pairing, *both))
    if plan.prompts < config.prompts:
        # The task's filters and a benchmark's `limit` have been applied.
        limited = config.source == "benchmark" and plan.prompts == config.limit
        why = f"limit={config.limit} leaves no more" if limited else "there are no more"
        print(f"{counted(plan.prompts, 'prompt')}: {why} (prompts={config.prompts})")
    grader = catalog.grader(plan.benchmark.config, config.sandbox, print)
    stack.callback(grader.close)
    material = Material(plan, folder, grader)
    stack.callback(material.close)
    return material


def _write(config: ProbeCommandConfig, name: str, folder: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the rows last: if they exist, the probe is complete."""
    plots.draw(name, rows, folder, _context(config))
    gate.write_yaml(settings(config, name), folder / f"{name}.yaml")
    files.write_rows(folder / f"{name}.jsonl", rows)


def _context(config: ProbeCommandConfig) -> str:
    """The title of a figure: run, pair and prompts."""
    of_run = f"run {Path(config.run).name}, " if config.run else ""
    if config.source == "task":
        return f"{of_run}pair {config.pair.name}, prompts of task {config.task.name}"
    return f"{of_run}pair {config.pair.name}, questions of {', '.join(config.benchmark)}"


def _picture(folder: Path, name: str) -> Path:
    return folder / ("samples.html" if name == "samples" else f"{name}.png")
