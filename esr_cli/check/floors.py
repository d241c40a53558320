"""The floor of each phase of a step: its least work at the ceilings of the machine, in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from esr_cli.config import TuneConfig
from esr_cli.models.outlines import adapted_layers, trained_parameters
from esr_cli.models.shapes import cache_bytes, sizes

# AdamW reads gradient, weight and two moments, and writes weight and moments.
OPTIMIZER_ACCESSES = 7


@dataclass(frozen=True)
class Ceilings:
    """Bytes read or written per second, and floating-point operations per second in `dtype`."""

    bytes_per_s: float
    flops_per_s: float
    dtype: str

    def seconds(self, moved_bytes: float, flops: float) -> float:
        """The least time for both, assuming that they overlap completely."""
        return max(moved_bytes / self.bytes_per_s, flops / self.flops_per_s)


@dataclass(frozen=True)
class Work:
    """Token counts of a step's prompts and responses, by row; the teacher's prompts may differ.

    `repeated` are the student's prompts of those rows whose prompt an earlier row has too, and
    `teacher_repeated` the teacher's.
    """

    prompts: tuple[int, ...]
    teacher_prompts: tuple[int, ...]
    responses: tuple[int, ...]
    repeated: tuple[int, ...] = ()
    teacher_repeated: tuple[int, ...] = ()


@dataclass(frozen=True)
class Model:
    """A model's shape, and its weight counts: of the linear layers (`body`) and of the head."""

    shape: Any
    body: int
    head: int

    @classmethod
    def of(cls, outline: Any) -> Model:
        """From a model without weights (on the meta device)."""
        body = sum(layer.weight.numel() for _, layer in adapted_layers(outline, ["all-linear"]))
        shape = outline.config.get_text_config()
        return cls(shape, body, shape.vocab_size * shape.hidden_size)

    def forward(self, lengths: Sequence[int]) -> float:
        """FLOPs of the layers over sequences of these lengths, causal attention included."""
        layers, _, _, queries, _ = sizes(self.shape)
        attention = sum(2 * queries * length**2 for length in lengths) * layers
        return 2.0 * self.body * sum(lengths) + attention


def floors(
    student: Any, teacher: Any, tune: TuneConfig, work: Work, size: int, ceilings: Ceilings
) -> dict[str, float]:
    """The least seconds of `generate`, `score`, `train`, `sync` and of the complete `step`.

    `student` and `teacher` are models without weights; `size` is the bytes per element. Each
    phase takes the longer of its memory traffic and its FLOPs, in which a prompt of several
    responses counts once:

    - generate: all weights and the KV cache are read once per decoded token of the longest
      response, with the FLOPs of every token;
    - score: the teacher's layers over prompts and responses; no head, since hidden states suffice;
    - train: the student's layers forward and backward (with LoRA without gradients of frozen
      weights), both heads at the response tokens, and the optimizer's bytes;
    - sync: the changed weights, read and written once, and once more by the engine.
    """
    learner, reference = Model.of(student), Model.of(teacher)
    count = sum(work.responses)
    lengths = [p + r for p, r in zip(work.prompts, work.responses, strict=True)]
    teacher_lengths = [p + r for p, r in zip(work.teacher_prompts, work.responses, strict=True)]
    learned = learner.forward(lengths) - learner.forward(work.repeated)
    scored = reference.forward(teacher_lengths) - reference.forward(work.teacher_repeated)
    cache = cache_bytes(learner.shape, size)
    # Token t of a response attends to its prompt and to t response tokens.
    attended = sum(r * p + r * r / 2 for p, r in zip(work.prompts, work.responses, strict=True))
    full = tune.method == "full"
    passes = (3 if full else 2) + tune.gradient_checkpointing
    width, teacher_width = learner.shape.hidden_size, reference.shape.hidden_size
    heads = 2.0 * count * learner.shape.vocab_size * ((3 if full else 2) * width + teacher_width)
    moved = OPTIMIZER_ACCESSES * (size if tune.master == "none" else 4)
    changed = trained_parameters(student, tune) * moved
    merged = sum(layer.weight.numel() for _, layer in adapted_layers(student, tune.targets))
    synced = (learner.body + learner.head if full else merged) * size
    seconds = {
        "generate": ceilings.seconds(
            max(work.responses) * (learner.body + learner.head) * size + attended * cache,
            learned + 2.0 * learner.head * count,
        ),
        "score": ceilings.seconds(reference.body * size, scored),
        "train": ceilings.seconds(
            learner.body * size + changed,
            passes * learned + heads,
        ),
        "sync": ceilings.seconds(
            (2 if full else 4) * synced, 0 if full else 2.0 * tune.rank * merged
        ),
    }
    return seconds | {"step": sum(seconds.values())}
