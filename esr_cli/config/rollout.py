"""Settings of the rollout engine and its sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from esr_cli.config.errors import ConfigError, need, need_choice, need_choices, one_of


def check_length(key: str, value: Any) -> None:
    """Raises `ConfigError` unless `value` is a positive whole number, `full` or `auto`."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value not in ("full", "auto") and not (whole and value > 0):
        raise ConfigError(f"{key}={value}: give a positive number of tokens, full, or auto")


def check_temperature(key: str, value: float) -> None:
    """Raises `ConfigError` unless both engines support the temperature `value`."""
    # vLLM raises lower temperatures to 0.01.
    fits = value == 0 or 0.01 <= value <= 2
    need(fits, key, value, "give 0 (always the likeliest token) or a number in [0.01, 2]")


# The most updates between the weights that sampled and those that are trained.
MOST_STALE = 4


@dataclass
class RolloutConfig:
    """`max_tokens` is the rollout length N (`rollout_len` on the command line): a number of tokens,
    `full`, or `auto`, which measures N before the run starts.

    `max_sequences` is the maximum number of responses that are decoded in parallel. With
    `staleness` k the rollouts of a step are sampled from the weights k updates earlier, while the
    steps before it are trained (docs/scale.md). `weights` is what the engine gets of a LoRA
    student: its `merged` weights, or the `adapter` alone; `auto` is the adapter on Ray. With
    vLLM `tensor_parallel` GPUs of one machine share an engine. With `seeds=response` each response
    has a seed of its own, which determines it in any batch. With `seeds=batch` vLLM has one seed
    for all responses of a call, which spares it a random stream for each (docs/training.md).
    """

    engine: str = "vllm"
    max_tokens: Any = 100
    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    max_sequences: int = 128
    gpu_memory_utilization: float = 0.4
    staleness: int = 0
    weights: str = one_of(("auto", "merged", "adapter"))
    tensor_parallel: int = 1
    seeds: str = one_of(("response", "batch"))

    def __post_init__(self) -> None:
        need_choice("rollout", self.engine, ("vllm", "eager"))
        need_choices(self, "rollout.")
        need(
            self.seeds == "response" or self.engine == "vllm", "rollout.seeds", self.seeds,
            f"rollout={self.engine} has a random stream for each response; give rollout=vllm",
        )  # fmt: skip
        check_length("rollout_len", self.max_tokens)
        check_temperature("rollout.temperature", self.temperature)
        need(0 < self.top_p <= 1, "rollout.top_p", self.top_p, "give a number in (0, 1]")
        need(self.top_k >= 0, "rollout.top_k", self.top_k, "give 0 (all tokens) or more")
        stale = self.staleness
        need(0 <= stale <= MOST_STALE, "rollout.staleness", stale, f"give 0 to {MOST_STALE}")
        share = self.gpu_memory_utilization
        need(0 < share <= 1, "rollout.gpu_memory_utilization", share, "give a share in (0, 1]")
        for key in ("max_sequences", "tensor_parallel"):
            need(getattr(self, key) > 0, f"rollout.{key}", getattr(self, key), "give 1 or more")
        parts = self.tensor_parallel
        need(
            parts == 1 or self.engine == "vllm", "rollout.tensor_parallel", parts,
            f"rollout={self.engine} computes on one device; give rollout=vllm",
        )  # fmt: skip

    def check_engines(self, engines: int) -> None:
        """Raises `ConfigError` if so many engines cannot share the prompts of a call."""
        need(
            self.seeds == "response" or engines == 1, "rollout.seeds", self.seeds,
            f"execution.rollouts={engines}: a response must not depend on which engine samples it; "
            "give rollout.seeds=response",
        )  # fmt: skip
