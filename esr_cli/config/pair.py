"""Who learns from whom."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.errors import need, need_choice


@dataclass
class ModelConfig:
    """A folder, a hub id, or `esr:NAME` for a model that ships with the package.

    `system` is a system prompt of its own (null: the chat template's default); `thinking` lets
    templates that can think do so; `chat_template` is a jinja file that replaces the tokenizer's;
    `trust_remote_code` runs code that comes with the model.
    """

    path: str = ""
    revision: str | None = None
    system: str | None = None
    thinking: bool = False
    chat_template: str | None = None
    trust_remote_code: bool = False


@dataclass
class PairConfig:
    """Student and teacher; `context_tokens` bounds prompt and response together.

    `max_response_tokens` is what `rollout_len=full` means for this pair.
    """

    name: str = ""
    student: ModelConfig = field(default_factory=ModelConfig)
    teacher: ModelConfig = field(default_factory=ModelConfig)
    dtype: str = "auto"
    context_tokens: int = 4096
    max_response_tokens: int = 1024

    def __post_init__(self) -> None:
        need_choice("pair.dtype", self.dtype, ("auto", "float32", "bfloat16"))
        response = self.max_response_tokens
        need(
            0 < response < self.context_tokens,
            "pair.max_response_tokens",
            response,
            f"give a positive number below pair.context_tokens={self.context_tokens}",
        )
