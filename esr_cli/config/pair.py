"""Who learns from whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from esr_cli.config.errors import need, need_choice

ALIGNMENTS = ("auto", "ids", "tokens", "text")


@dataclass
class ModelConfig:
    """A folder, a hub id, or `esr:NAME` for a model that ships with the package.

    `system` is a system prompt of its own (null: what its chat template says), `thinking` the
    template's switch, `chat_template` a jinja file in place of the tokenizer's own. `shape` holds
    what `pair.weights=random` builds: a transformers configuration, with its `model_type`; its
    tokenizer is that of `path`, or of a `family` whose ranks lie below data_dir (qwen2.5, qwen3).
    """

    path: str = ""
    revision: str | None = None
    system: str | None = None
    thinking: bool = False
    chat_template: str | None = None
    trust_remote_code: bool = False
    family: str | None = None
    shape: dict[str, Any] = field(default_factory=dict)


@dataclass
class PairConfig:
    """Student and teacher; `context_tokens` bounds prompt and response together.

    `max_response_tokens` is what `rollout_len=full` means for this pair. `alignment` says how their
    vocabularies meet: by the same `ids`, by `tokens` that are spelt alike, or by the `text` alone;
    `auto` takes one of the first two. `merge_eos` compares all end-of-text tokens as one;
    `stop_tokens` are such beside those that the models name. Where either model puts more than
    `outside_warn` of its probability outside the shared vocabulary, the run warns.
    `weights=random` builds both models from their `shape`, for a dry run without a download.
    """

    name: str = ""
    student: ModelConfig = field(default_factory=ModelConfig)
    teacher: ModelConfig = field(default_factory=ModelConfig)
    dtype: str = "auto"
    context_tokens: int = 4096
    max_response_tokens: int = 1024
    alignment: str = "auto"
    merge_eos: bool = True
    stop_tokens: list[str] = field(default_factory=list)
    outside_warn: float = 0.02
    weights: str = "pretrained"

    def __post_init__(self) -> None:
        need_choice("pair.dtype", self.dtype, ("auto", "float32", "bfloat16"))
        need_choice("pair.alignment", self.alignment, ALIGNMENTS)
        need_choice("pair.weights", self.weights, ("pretrained", "random"))
        share = self.outside_warn
        need(0 <= share <= 1, "pair.outside_warn", share, "give a share in [0, 1]")
        response = self.max_response_tokens
        need(
            0 < response < self.context_tokens,
            "pair.max_response_tokens",
            response,
            f"give a positive number below pair.context_tokens={self.context_tokens}",
        )
