"""What is asked in training."""

from __future__ import annotations

from dataclasses import dataclass

from esr_cli.config.errors import need, need_choice


@dataclass
class TaskConfig:
    """The lab's chains of arithmetic: `chain_length` operations modulo `modulus`."""

    name: str = "lab"
    chain_length: int = 12
    modulus: int = 7

    def __post_init__(self) -> None:
        need_choice("task", self.name, ("lab",))
        length = self.chain_length
        need(0 < length <= 26, "task.chain_length", length, "give 1 to 26 operations")
        need(self.modulus > 2, "task.modulus", self.modulus, "give a number above 2")
