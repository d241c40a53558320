"""`esr --version`: the versions of esr, of what it computes with, and its commit in a checkout."""

from __future__ import annotations

import esr_cli
from esr_cli.runs import environment

# Commands that load torch, for which a line appears at once.
HEAVY = ("train", "check", "eval", "probe", "bench", "lab")


def line() -> str:
    """`esr 0.2.0 (commit 1a2b3c4), python 3.11.2, torch 2.13.0, …`; imports none of them."""
    at = _short(environment.commit())
    versions = environment.versions().split(", ")
    others = [each for each in versions if not each.startswith("esr-cli ")]
    return ", ".join([f"esr {esr_cli.__version__}" + (f" (commit {at})" if at else ""), *others])


def _short(commit: str) -> str:
    """The first characters of a commit, with + if files differ from it."""
    return commit[:9] + ("+" if commit.endswith("-dirty") else "")
