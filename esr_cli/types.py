"""What flows between the rooms of esr, one frozen type an arrow.

Legend of the dimension letters at the end of tensor names:

    B  sequences in a batch
    L  padded length of a sequence (prompt and response)
    R  response tokens of a whole batch, laid end to end without padding
    V  vocabulary
    D  width of the hidden state
    K  top-k entries

Row t of `hidden_RD` is the hidden state that *predicts* response token t.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Question:
    """One problem before any tokenizer has seen it; `id` is the same for a data row in every run.

    `messages` are chat turns (`role`, `content`); `tools` the functions offered, as JSON schemas;
    `reference` is what the grader compares with: a text, a `CodeReference`, a `ToolReference`.
    """

    id: str
    messages: tuple[Mapping[str, str], ...]
    reference: Any
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class CodeReference:
    """A function to write, and how it is tested.

    `prompt` is the code that a response completes; `canonical` a whole program with the published
    solution, whose outputs are the expected ones; `inputs` holds the arguments of each call, the
    first `base_count` of them the benchmark's own; `atol` is the tolerance for floats; `family` is
    `humaneval` or `mbpp`, whose special oracles differ.
    """

    family: str
    prompt: str
    entry_point: str
    canonical: str
    inputs: tuple[Sequence[Any], ...]
    base_count: int
    atol: float


@dataclass(frozen=True)
class ToolReference:
    """One call to make: `functions` as BFCL describes them, `allowed` as its possible answers.

    `allowed` maps the one right function to its parameters, each with a list of allowed values, in
    which `""` means that the parameter may be left out.
    """

    functions: tuple[Mapping[str, Any], ...]
    allowed: Mapping[str, Mapping[str, list[Any]]]


@dataclass(frozen=True)
class Prompt:
    """One question as each model reads it.

    `student_ids` and `teacher_ids` hold the same messages, each through its own chat template;
    `id` is the question's.
    """

    id: str
    text: str
    student_ids: tuple[int, ...]
    teacher_ids: tuple[int, ...]


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn; `top_p=1` and `top_k=0` leave the distribution whole.

    `max_tokens` counts response tokens, the end-of-text token included; `lengths`, where it is not
    empty, gives each response of a call a limit of its own, prompt by prompt. `shared_only` bars
    the tokens that the engine was told the teacher lacks.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop_ids: tuple[int, ...] = ()
    samples: int = 1
    seed: int = 0
    purpose: str = "train"
    step: int = 0
    lengths: tuple[int, ...] = ()
    shared_only: bool = False

    def at(self, step: int, lengths: Sequence[int] = ()) -> Sampling:
        """The same sampling with the seeds, and the lengths, of another step."""
        return replace(self, step=step, lengths=tuple(lengths))

    def limits(self, responses: int) -> tuple[int, ...]:
        """The most tokens of each of a call's responses."""
        assert not self.lengths or len(self.lengths) == responses, (self.lengths, responses)
        return self.lengths or (self.max_tokens,) * responses

    def seed_of(self, prompt_id: str, sample: int) -> int:
        """A response's seed: 31 bits, fixed by run seed, purpose, step, prompt and sample."""
        key = f"{self.seed}/{self.purpose}/{self.step}/{prompt_id}/{sample}"
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") >> 1


@dataclass(frozen=True)
class Rollout:
    """A sampled response; `finish` is `stop` (it ended) or `length` (it was cut at the budget).

    `logprobs` holds, for every response token, its log-probability (nats) under the distribution
    it was drawn from: at the sampling temperature, after top-p and top-k.
    """

    prompt: Prompt
    sample: int
    response_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: str


@dataclass(frozen=True)
class HiddenScores:
    """Teacher states before its output head, for every response token laid end to end.

    `aligned_R` tells, where tokenizers are unlike, at which tokens the teacher stands at the same
    place of the text; the other rows mean nothing. None: at all of them.
    """

    hidden_RD: torch.Tensor
    aligned_R: torch.Tensor | None = None


@dataclass(frozen=True)
class LogitScores:
    """Exact teacher logits in the student's order, for heads that cannot be split off."""

    logits_RV: torch.Tensor
    aligned_R: torch.Tensor | None = None


Scores = HiddenScores | LogitScores


@dataclass(frozen=True)
class Grade:
    """The verdict on one response, with the reason in a few words.

    `answer` is what the response votes for in maj@k, None where it gives none; `also` holds further
    verdicts on the same response by name (`first_boxed`, `parsed`, ...).
    """

    correct: bool
    reason: str
    answer: str | None = None
    also: Mapping[str, bool] = field(default_factory=dict)

    def verdict(self, name: str) -> bool:
        """A further verdict; where it was not made apart (no plus inputs), the verdict itself."""
        return self.also.get(name, self.correct)


class Grader(Protocol):
    """What judges the responses of one benchmark; see `esr_cli.graders`."""

    def grade(self, pairs: Sequence[tuple[str, Any]]) -> list[Grade]:
        """A verdict for each (response, reference); a hostile response costs itself alone."""
        ...

    def equal(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether two answers are one vote, for each pair of them."""
        ...

    def close(self) -> None:
        """Ends the processes that grading started."""
        ...


class Engine(Protocol):
    """What samples responses; see `esr_cli.rollout`."""

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """`sampling.samples` rollouts a prompt, prompt by prompt."""
        ...

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Replaces the named weights (Hugging Face names); unnamed ones stay."""
        ...
