"""What is asked, and how answers are measured."""

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


@dataclass
class EvalConfig:
    """`samples` responses at `temperature` to each of `problems` held-out problems."""

    problems: int = 128
    samples: int = 4
    temperature: float = 0.7

    def __post_init__(self) -> None:
        need(self.problems > 0, "eval.problems", self.problems, "give 1 or more")
        need(self.samples > 0, "eval.samples", self.samples, "give 1 or more")
        heat = self.temperature
        need(0 <= heat <= 2, "eval.temperature", heat, "give a number in [0, 2]")
