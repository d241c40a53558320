"""Settings of `esr lab`, which trains the miniature pair."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, islice

from esr_cli.config.errors import need, need_choices, one_of

# How the texts are split.
TOKENIZERS = ("words", "bytes")


@dataclass
class LabConfig:
    """Problems, strategies, networks and training of the lab; docs/lab.md explains the choices.

    `slip` is the probability that a careful student text switches to the quick strategy at each
    third operation. `teacher_error` is the probability that a result in the teacher's training text
    is wrong; from the first operation to the last it grows by `teacher_late_error`. The tokenizers
    `words` and `bytes` split the same text differently. With `two_ends` the teacher ends its
    responses with a token of its own, and the student a share `second_end_share` of them.

    `students` above 1 makes a population with one teacher: students of the seeds from 2 on, `jobs`
    models at a time. Trained models are cached, so an interrupted command goes on where it was, and
    more students are added to those that are there. `run_dir` null: lab_pair; for a population a
    folder in the cache.
    """

    run_dir: str | None = None
    students: int = 1
    jobs: int = 2
    chain_length: int = 12
    modulus: int = 7
    careful_share: float = 0.3
    slip: float = 0.0
    teacher_error: float = 0.0
    teacher_late_error: float = 0.0
    two_ends: bool = False
    second_end_share: float = 0.1
    student_tokenizer: str = one_of(TOKENIZERS)
    teacher_tokenizer: str = one_of(TOKENIZERS)
    width: int = 96
    layers: int = 3
    heads: int = 3
    mlp: int = 256
    batch: int = 32
    learning_rate: float = 3e-3
    teacher_steps: int = 500
    student_steps: int = 500
    accuracy: float = 0.985
    solid_steps: int = 300
    solid_rate: float = 1e-3
    teacher_seed: int = 1
    student_seed: int = 3
    test_problems: int = 128

    @property
    def population(self) -> dict[str, int]:
        """The seeds of a population's students by the names of their folders.

        A student with the teacher's seed would begin with the teacher's weights.
        """
        seeds = (seed for seed in count(2) if seed != self.teacher_seed)
        return {f"student_{seed:02d}": seed for seed in islice(seeds, self.students)}

    def __post_init__(self) -> None:
        need(self.run_dir != "", "run_dir", self.run_dir, "name the folder for the pair")
        need(0 < self.chain_length <= 26, "chain_length", self.chain_length, "give 1 to 26")
        need(2 < self.modulus <= 50, "modulus", self.modulus, "give 3 to 50")
        need_choices(self)
        for key in (
            "careful_share", "slip", "teacher_error", "teacher_late_error", "second_end_share",
            "accuracy",
        ):  # fmt: skip
            need(0 <= getattr(self, key) <= 1, key, getattr(self, key), "give a share in [0, 1]")
        error = self.teacher_error + self.teacher_late_error
        need(error <= 1, "teacher_late_error", self.teacher_late_error, "the sum is above 1")
        words = self.student_tokenizer == self.teacher_tokenizer == "words"
        need(words or not self.two_ends, "two_ends", True, "needs both tokenizers to be words")
        need(1 <= self.students <= 256, "students", self.students, "give 1 to 256")
        for key in ("jobs", "width", "layers", "heads", "mlp", "batch", "test_problems"):
            need(getattr(self, key) > 0, key, getattr(self, key), "give 1 or more")
        for key in ("teacher_steps", "student_steps"):
            need(getattr(self, key) > 0, key, getattr(self, key), "give 1 or more")
        for key in ("learning_rate", "solid_rate"):
            need(0 < getattr(self, key) <= 1, key, getattr(self, key), "give a number in (0, 1]")
        for key in ("teacher_seed", "student_seed"):
            need(getattr(self, key) >= 0, key, getattr(self, key), "give 0 or more")
        need(self.solid_steps >= 0, "solid_steps", self.solid_steps, "give 0 or more")
        # Rotary embeddings rotate pairs of dimensions, so the width of a head must be even.
        even = 2 * self.heads
        need(self.width % even == 0, "width", self.width, f"give a multiple of {even}")
