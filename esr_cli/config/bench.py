"""Settings of `esr bench`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from esr_cli.config.errors import need, need_choice, some_of
from esr_cli.config.rollout import check_length
from esr_cli.config.train import TrainConfig

ENGINES = ("eager", "vllm")


@dataclass
class BenchConfig(TrainConfig):
    """Settings of `esr train`, plus the rollout lengths and engines to time.

    Each length is a number of tokens or `full`. With `prompt_tokens` every prompt has that many
    tokens, for student and teacher each. `repeats` steps are timed after `warmup` steps. `peer` is
    a package to compare with. With `in_turns` only one configuration is in memory at a time; null
    is that if they do not fit together. If `out` is null, esr chooses the folder.
    """

    rollout_lens: list[Any] = field(default_factory=list)
    prompt_tokens: int | None = None
    engines: list[str] = some_of(ENGINES)
    peer: str | None = None
    in_turns: bool | None = None
    repeats: int = 5
    warmup: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = self.rollout_lens
        need(bool(lengths), "lengths", "[]", "give one or more")
        for each in lengths:
            check_length("lengths", each)
            need(each != "auto", "lengths", each, "give a number of tokens, or full")
            tokens, limit = self.tokens(each), self.pair.context_tokens
            need(tokens < limit, "lengths", each, f"stay below pair.context_tokens={limit}")
            self._check_prompts(limit - tokens, f"lengths={each} leaves of pair.context_tokens")
        need(bool(self.engines), "engines", "[]", f"give one or more of {', '.join(ENGINES)}")
        need_choice("peer", self.peer or "trl", ("trl",))
        need(self.repeats > 0, "repeats", self.repeats, "give 1 or more")
        need(self.warmup >= 0, "warmup", self.warmup, "give 0 or more")
        stale = self.rollout.staleness
        need(not stale, "rollout.staleness", stale, "steps are timed one by one; leave it out")
        places = (self.execution.engine, self.execution.teacher)
        need("ray" not in places, "execution", "ray", "esr bench times one machine; leave it out")
        need(self.resume is None, "resume", self.resume, "goes with esr train; leave it out")

    def _check_prompts(self, room: int, left_by: str) -> None:
        count = self.prompt_tokens
        fits = count is None or 0 < count <= room
        need(fits, "prompt_tokens", count, f"give 1 to {room}, which {left_by}")

    def tokens(self, length: Any) -> int:
        """Resolves a length to tokens; `full` is `pair.max_response_tokens`."""
        return self.pair.max_response_tokens if length == "full" else int(length)
