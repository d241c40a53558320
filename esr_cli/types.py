"""The data types that the rooms of esr pass to each other, all frozen, and their interfaces.

Legend of the dimension letters at the end of tensor names:

    B  sequences in a batch
    L  padded length of a sequence (prompt and response)
    R  response tokens of a batch, concatenated without padding
    V  vocabulary
    D  width of the hidden state
    K  top-k entries

Row t of `hidden_RD` is the hidden state that *predicts* response token t.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Question:
    """One problem before any tokenizer has seen it; `id` is the same for a data row in every run.

    `messages` are chat turns: `role` and `content`, both texts; those of custom prompts may also
    have `name`, `tool_calls` and `tool_call_id`. `tools` are the functions offered, as JSON
    schemas. The grader compares a response with `reference`: a text, a `CodeReference` or a
    `ToolReference`. If it is `raw`, its only message is a text that the model continues, without a
    chat template. `source` is what `teacher.by` chooses the teacher by.
    """

    id: str
    messages: tuple[Mapping[str, Any], ...]
    reference: Any
    tools: tuple[Mapping[str, Any], ...] = ()
    raw: bool = False
    source: str = ""


@dataclass(frozen=True)
class CodeReference:
    """A function to write, and how it is tested.

    `prompt` is the code that a response completes. `canonical` is a complete program with the
    published solution; its outputs are the expected ones. `inputs` holds the arguments of each
    call; the first `base_count` calls are the original benchmark's. `atol` is the tolerance for
    floats. `family` is `humaneval` or `mbpp`; their special oracles differ.
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
    """The function call that a response should make.

    `functions` are described as in BFCL. `allowed` is BFCL's possible answer: it maps the correct
    function to its parameters, and each parameter to a list of allowed values. `""` in the list
    means that the parameter may be omitted.
    """

    functions: tuple[Mapping[str, Any], ...]
    allowed: Mapping[str, Mapping[str, list[Any]]]


@dataclass(frozen=True)
class Prompt:
    """One question, tokenized for each model.

    `student_ids` and `teacher_ids` hold the same messages, each rendered by the model's own chat
    template (or the student's for both). `id` is the id of the question. The student samples after
    `student_ids`, and is trained after `trained_ids`, which may end with more (`before_ids`).
    `teacher` is the name of the teacher that scores the responses, empty for the pair's own.
    """

    id: str
    text: str
    student_ids: tuple[int, ...]
    teacher_ids: tuple[int, ...]
    before_ids: tuple[int, ...] = ()
    teacher: str = ""

    @property
    def trained_ids(self) -> tuple[int, ...]:
        """What the student reads before a response that it is trained on."""
        return self.student_ids + self.before_ids

    @property
    def longest(self) -> int:
        """The number of tokens before a response, for the model that reads more."""
        return max(len(self.trained_ids), len(self.teacher_ids))


@dataclass(frozen=True)
class Sampling:
    """How responses are sampled; `top_p=1` and `top_k=0` do not truncate the distribution.

    `max_tokens` counts response tokens, the end-of-text token included. `lengths`, if not empty,
    gives each response of a call its own limit, prompt by prompt. `shared_only` masks out the
    tokens that the teacher lacks; the engine received their ids when it was made.
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
        """This sampling with the seeds and the lengths of another step."""
        return replace(self, step=step, lengths=tuple(lengths))

    def limits(self, responses: int) -> tuple[int, ...]:
        """The maximum number of tokens of each response of a call."""
        assert not self.lengths or len(self.lengths) == responses, (self.lengths, responses)
        return self.lengths or (self.max_tokens,) * responses

    def seed_of(self, prompt_id: str, sample: int) -> int:
        """A response's 31-bit seed, derived from run seed, purpose, step, prompt and sample."""
        key = f"{self.seed}/{self.purpose}/{self.step}/{prompt_id}/{sample}"
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") >> 1


def without_ends(ids: Sequence[int], ends: Collection[int | None]) -> Sequence[int]:
    """The ids without those of `ends` that come last."""
    last = len(ids)
    while last and ids[last - 1] in ends:
        last -= 1
    return ids[:last]


@dataclass(frozen=True)
class Adapter:
    """The LoRA adapter that an engine is given in place of merged weights."""

    rank: int
    alpha: int

    @property
    def scale(self) -> float:
        """The factor of the product of both factors."""
        return self.alpha / self.rank


@dataclass(frozen=True)
class Rollout:
    """A sampled response; `finish` is `stop` (it ended) or `length` (it reached its limit).

    `logprobs` holds the log-probability (nats) of every response token under the distribution
    that it was sampled from: at the sampling temperature, after top-p and top-k. `replica` counts
    the engines of a run; it is the one that sampled.
    """

    prompt: Prompt
    sample: int
    response_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: str
    replica: int = 0


# A rollout, and its place among those that were asked for.
Placed = tuple[int, Rollout]


def in_order(placed: Iterable[Placed]) -> list[Rollout]:
    """The rollouts in the order of their places."""
    return [rollout for _, rollout in sorted(placed, key=itemgetter(0))]


@dataclass(frozen=True)
class HiddenScores:
    """Teacher hidden states before the output head, for the concatenated response tokens.

    With different tokenizers, `aligned_R` (bool) marks the tokens at which the teacher predicts at
    the same place of the text; the other rows are undefined. None: all tokens are aligned.
    `metrics` are the teacher's own figures of the step.
    """

    hidden_RD: torch.Tensor
    aligned_R: torch.Tensor | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LogitScores:
    """Exact teacher logits in the order of the student's ids, for inseparable output heads."""

    logits_RV: torch.Tensor
    aligned_R: torch.Tensor | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


Scores = HiddenScores | LogitScores


@dataclass(frozen=True)
class ScoresByTeacher:
    """Scores of several teachers by name: each those of its own rollouts, in their order."""

    parts: Mapping[str, Scores]
    metrics: Mapping[str, float] = field(default_factory=dict)


StepScores = Scores | ScoresByTeacher


@dataclass(frozen=True)
class Grade:
    """The verdict on one response, with a short reason.

    `answer` is the response's vote in maj@k, None if it has no answer. `also` holds further
    verdicts on the same response by name (`first_boxed`, `parsed`, ...). A response is not `judged`
    if its question cannot be: a reference that is inconsistent, a canonical solution that fails.
    """

    correct: bool
    reason: str
    answer: str | None = None
    also: Mapping[str, bool] = field(default_factory=dict)
    judged: bool = True

    def verdict(self, name: str) -> bool:
        """A further verdict by name; `correct` if `also` has none (a task without plus inputs)."""
        return self.also.get(name, self.correct)


class Grader(Protocol):
    """Grades the responses of one benchmark; see `esr_cli.graders`."""

    def grade(self, pairs: Sequence[tuple[str, Any]]) -> list[Grade]:
        """A verdict for each (response, reference); a hostile response cannot affect others."""
        ...

    def equal(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """For each pair of answers, whether both count as the same vote."""
        ...

    def close(self) -> None:
        """Stops the processes that grading started."""
        ...


class Engine(Protocol):
    """Samples responses; see `esr_cli.rollout`."""

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """Samples `sampling.samples` rollouts per prompt, in the order of the prompts."""
        ...

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Replaces the named weights (Hugging Face names); the others are kept."""
        ...


class StreamingEngine(Engine, Protocol):
    """An engine that can return responses before all have ended."""

    def finished(self, prompts: list[Prompt], sampling: Sampling) -> Iterator[list[Placed]]:
        """The rollouts of `generate` with their places, each group when it has ended."""
        ...
