"""`esr --version`: the versions of esr, of what it computes with, and its commit in a checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import esr_cli
from esr_cli.runs import environment

PACKAGE = Path(esr_cli.__file__).parent
# Commands that load torch, for which a line appears at once.
HEAVY = ("train", "check", "eval", "probe", "bench", "lab")


def line() -> str:
    """`esr 0.2.0 (commit 1a2b3c4), python 3.11.2, torch 2.13.0, …`; imports none of them."""
    at = commit()
    versions = environment.versions().split(", ")
    others = [each for each in versions if not each.startswith("esr-cli ")]
    return ", ".join([f"esr {esr_cli.__version__}" + (f" (commit {at})" if at else ""), *others])


def commit() -> str:
    """The commit of the checkout that esr runs from, with + if files differ; empty elsewhere."""
    if not (PACKAGE.parent / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
