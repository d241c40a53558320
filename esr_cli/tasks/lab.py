"""The lab's task: a chain of arithmetic modulo a small number, and two ways to write it out.

*Careful* carries out every operation and is right; *quick* silently skips every third one, each
written step being correct in itself, and is right by chance only.
"""

from __future__ import annotations

import hashlib
import random
import sys
from dataclasses import dataclass

from esr_cli.tasks.chat import Chat, prompt
from esr_cli.types import Prompt, Question

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
        """The text of the user's turn."""
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
    """One operation modulo `modulus`."""
    result = left + right if op == "+" else left - right if op == "-" else left * right
    return result % modulus


def _draw(rng: random.Random, chain_length: int, modulus: int) -> Problem:
    def operation() -> tuple[str, int]:
        op = rng.choice("+-*")
        return op, rng.randint(2 if op == "*" else 1, modulus - 1)

    operations = tuple(operation() for _ in range(chain_length))
    return Problem(rng.randrange(modulus), operations, modulus)


def problem(index: int, split: str, chain_length: int, modulus: int) -> Problem:
    """Problem number `index` of `train` or `held_out`.

    A hash of the question decides its split, so that the two can never share a problem.
    """
    rng = random.Random(f"{split}/{index}/{chain_length}/{modulus}")
    while True:
        drawn = _draw(rng, chain_length, modulus)
        held_out = hashlib.blake2b(drawn.question.encode()).digest()[0] < 32
        if held_out == (split == "held_out"):
            return drawn


def careful(problem: Problem, rng: random.Random, slip: float = 0.0, error: float = 0.0) -> str:
    """Every operation written out; `slip` and `error` as in `LabConfig`."""
    return CAREFUL + _steps(problem, rng, quick=False, slip=slip, error=error)


def quick(problem: Problem, rng: random.Random) -> str:
    """Every third operation silently skipped."""
    return QUICK + _steps(problem, rng, quick=True)


def _steps(
    problem: Problem, rng: random.Random, quick: bool, slip: float = 0.0, error: float = 0.0
) -> str:
    value, written = problem.start, []
    for i, (op, operand) in enumerate(problem.operations):
        if i % 3 == 0 and i > 0 and rng.random() < slip:
            quick = True
        if quick and i % 3 == 2:
            continue
        result = apply(op, value, operand, problem.modulus)
        if error and rng.random() < error:
            result = rng.randrange(problem.modulus)
        written.append(f"{LETTERS[i]} : {value} {op} {operand} = {result} ;")
        value = result
    return " ".join(written) + f" \n so the answer is \\boxed{{ {value} }}"


def question(index: int, split: str, chain_length: int, modulus: int) -> Question:
    """Problem number `index` as it is asked."""
    posed = problem(index, split, chain_length, modulus)
    messages = ({"role": "user", "content": posed.question},)
    return Question(f"lab-{split}-{index:06d}", messages, posed.answer)


class LabTask:
    """Training prompts of the lab through both models' chat templates, as many as are asked for."""

    available = sys.maxsize

    def __init__(
        self, chain_length: int, modulus: int, student: Chat, teacher: Chat, seed: int
    ) -> None:
        self.chain_length, self.modulus, self.seed = chain_length, modulus, seed
        self.student, self.teacher = student, teacher
        self.report = f"lab: fresh chains of {chain_length} operations modulo {modulus} every step"

    def train(self, step: int, count: int) -> list[Prompt]:
        """The prompts of one step: fresh problems, decided by seed and step alone."""
        first = self.seed * 10_000_000 + step * count
        asked = (
            question(first + i, "train", self.chain_length, self.modulus) for i in range(count)
        )
        return [prompt(each, self.student, self.teacher) for each in asked]
