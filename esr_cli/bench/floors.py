"""The least that each phase of a step must do, in seconds of what the machine can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from esr_cli.bench.ceilings import Ceilings
from esr_cli.config import TuneConfig
from esr_cli.models.outlines import adapted_layers, trained_parameters
from esr_cli.models.shapes import cache_bytes, sizes

# AdamW in fp32: reads gradient, weight and two moments, writes weight and moments.
OPTIMIZER_BYTES = 7 * 4


@dataclass(frozen=True)
class Work:
    """Tokens of a step's prompts and responses, a row each; the teacher's prompts may be others."""

    prompts: tuple[int, ...]
    teacher_prompts: tuple[int, ...]
    responses: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """A model's sizes: weights of its linear layers (`body`), of its head, and of one layer."""

    shape: Any
    body: int
    head: int

    @classmethod
    def of(cls, outline: Any) -> Model:
        """Of a model without weights."""
        body = sum(layer.weight.numel() for _, layer in adapted_layers(outline, ["all-linear"]))
        shape = outline.config.get_text_config()
        return cls(shape, body, shape.vocab_size * shape.hidden_size)

    def forward(self, lengths: Sequence[int]) -> float:
        """Operations of the layers over sequences of these lengths, causal attention included."""
        layers, _, _, queries, _ = sizes(self.shape)
        attention = sum(2 * queries * length**2 for length in lengths) * layers
        return 2.0 * self.body * sum(lengths) + attention


def floors(
    student: Any, teacher: Any, tune: TuneConfig, work: Work, size: int, ceilings: Ceilings
) -> dict[str, float]:
    """Seconds of `generate`, `score`, `train`, `sync` and of the whole `step`, at the least.

    `student` and `teacher` are models without weights, `size` the bytes of a number of theirs.
    Each phase takes the longer of its bytes and its operations:

    - generate: all weights and the whole cache once a decoded token of the longest response, and
      the operations of every token;
    - score: the teacher's layers over prompts and responses; no head, since states are enough;
    - train: the student's layers forward and backward (with LoRA without the gradients of what is
      frozen), both heads at the response tokens, and the optimizer's bytes;
    - sync: what changed, read and written once, and once more by the engine.
    """
    own, theirs = Model.of(student), Model.of(teacher)
    count = sum(work.responses)
    whole = [p + r for p, r in zip(work.prompts, work.responses, strict=True)]
    read = [p + r for p, r in zip(work.teacher_prompts, work.responses, strict=True)]
    cache = cache_bytes(own.shape, size)
    # Token t of a response looks back at its prompt and t tokens.
    looked = sum(r * p + r * r / 2 for p, r in zip(work.prompts, work.responses, strict=True))
    full = tune.method == "full"
    passes = (3 if full else 2) + tune.gradient_checkpointing
    width, other_width = own.shape.hidden_size, theirs.shape.hidden_size
    heads = 2.0 * count * own.shape.vocab_size * ((3 if full else 2) * width + other_width)
    changed = trained_parameters(student, tune)
    merged = sum(layer.weight.numel() for _, layer in adapted_layers(student, tune.targets))
    handed = (own.body + own.head if full else merged) * size
    found = {
        "generate": ceilings.seconds(
            max(work.responses) * (own.body + own.head) * size + looked * cache,
            own.forward(whole) + 2.0 * own.head * count,
        ),
        "score": ceilings.seconds(theirs.body * size, theirs.forward(read)),
        "train": ceilings.seconds(
            own.body * size + OPTIMIZER_BYTES * changed, passes * own.forward(whole) + heads
        ),
        "sync": ceilings.seconds(
            (2 if full else 4) * handed, 0 if full else 2.0 * tune.rank * merged
        ),
    }
    return found | {"step": sum(found.values())}
