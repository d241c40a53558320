"""The lab's task: a chain of modular arithmetic with two styles of solution.

*Careful* performs every operation and is correct. *Quick* silently skips every third operation:
each written step is correct in itself, but the answer is correct only by chance.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from esr_cli.tasks.chat import Chat
from esr_cli.tasks.fresh import FreshTask
from esr_cli.types import Question

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# The blank after the line break matters: the tokenizer splits on blanks only.
CAREFUL = "plan : careful , one by one . \n "
QUICK = "plan : quick , three at once . \n "


@dataclass(frozen=True)
class Problem:
    """Start value and (operator, operand) pairs, with the question's text and the answer."""

    start: int
    operations: tuple[tuple[str, int], ...]
    modulus: int

    @property
    def question(self) -> str:
        """The user's turn."""
        named = zip(LETTERS, self.operations, strict=False)
        chain = "".join(f"{name} {op} {operand} ; " for name, (op, operand) in named)
        return f"Q : start {self.start} ; {chain}find {LETTERS[len(self.operations) - 1]} ?"

    @property
    def answer(self) -> str:
        """The value at the end of the chain."""
        value = self.start
        for op, operand in self.operations:
            value = apply(op, value, operand, self.modulus)
        return str(value)


def apply(op: str, left: int, right: int, modulus: int) -> int:
    """Applies one operation modulo `modulus`."""
    result = left + right if op == "+" else left - right if op == "-" else left * right
    return result % modulus


def _sample(rng: random.Random, chain_length: int, modulus: int) -> Problem:
    def operation() -> tuple[str, int]:
        op = rng.choice("+-*")
        return op, rng.randint(2 if op == "*" else 1, modulus - 1)

    operations = tuple(operation() for _ in range(chain_length))
    return Problem(rng.randrange(modulus), operations, modulus)


def problem(index: int, split: str, chain_length: int, modulus: int) -> Problem:
    """Generates problem number `index` of the split `train` or `held_out`.

    A hash of the question decides its split, so the splits are disjoint.
    """
    rng = random.Random(f"{split}/{index}/{chain_length}/{modulus}")
    while True:
        sampled = _sample(rng, chain_length, modulus)
        held_out = hashlib.blake2b(sampled.question.encode()).digest()[0] < 32
        if held_out == (split == "held_out"):
            return sampled


def careful(
    problem: Problem, rng: random.Random, slip: float = 0.0, error: float = 0.0,
    late_error: float = 0.0,
) -> str:  # fmt: skip
    """Writes a solution with every operation; `slip` and the errors as in `LabConfig`."""
    return CAREFUL + _steps(problem, rng, False, slip, error, late_error)


def quick(problem: Problem, rng: random.Random) -> str:
    """Writes a solution that silently skips every third operation."""
    return QUICK + _steps(problem, rng, quick=True)


def _steps(
    problem: Problem, rng: random.Random, quick: bool, slip: float = 0.0, error: float = 0.0,
    late_error: float = 0.0,
) -> str:  # fmt: skip
    value, written = problem.start, []
    last = max(1, len(problem.operations) - 1)
    for i, (op, operand) in enumerate(problem.operations):
        if i % 3 == 0 and i > 0 and rng.random() < slip:
            quick = True
        if quick and i % 3 == 2:
            continue
        result = apply(op, value, operand, problem.modulus)
        wrong = error + late_error * i / last
        if wrong and rng.random() < wrong:
            result = rng.randrange(problem.modulus)
        written.append(f"{LETTERS[i]} : {value} {op} {operand} = {result} ;")
        value = result
    return " ".join(written) + f" \n so the answer is \\boxed{{ {value} }}"


def question(index: int, split: str, chain_length: int, modulus: int) -> Question:
    """Returns problem number `index` as a question."""
    sampled = problem(index, split, chain_length, modulus)
    messages = ({"role": "user", "content": sampled.question},)
    return Question(f"lab-{split}-{index:06d}", messages, sampled.answer)


class LabTask(FreshTask):
    """Generates any number of lab prompts with both models' chat templates."""

    def __init__(
        self, chain_length: int, modulus: int, student: Chat, teacher: Chat, seed: int,
        system: str | None = None,
    ) -> None:  # fmt: skip
        report = f"lab: fresh chains of {chain_length} operations modulo {modulus} every step"
        super().__init__(
            lambda index: question(index, "train", chain_length, modulus),
            report, student, teacher, seed, system,
        )  # fmt: skip
