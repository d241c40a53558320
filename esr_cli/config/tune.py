"""Settings of the fine-tuning method and the optimizer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from esr_cli.config.errors import need, need_choice


@dataclass
class TuneConfig:
    """LoRA on all linear layers (the paper: r=32, alpha=64) or `full` fine-tuning, with AdamW.

    `targets` selects other layers to adapt, by the suffixes of their names. After `warmup_steps`,
    `schedule` keeps the learning rate constant or decays it linearly to zero. `micro_batch_tokens`
    is the number of padded tokens in one forward pass. `compile` applies torch.compile to the
    layers of both models: half a minute at the start, then faster steps (docs/performance.md).
    """

    method: str = "lora"
    rank: int = 32
    alpha: int = 64
    targets: list[str] = field(default_factory=lambda: ["all-linear"])
    learning_rate: float = 5e-5
    schedule: str = "constant"
    warmup_steps: int = 0
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    micro_batch_tokens: int = 16384
    gradient_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        need_choice("tune.method", self.method, ("lora", "full"))
        need_choice("tune.schedule", self.schedule, ("constant", "linear"))
        rate = self.learning_rate
        need(0 < rate <= 1, "tune.learning_rate", rate, "give a number in (0, 1]")
        for key in ("beta1", "beta2"):
            value = getattr(self, key)
            need(0 <= value < 1, f"tune.{key}", value, "give a number in [0, 1)")
        decay = self.weight_decay
        need(0 <= decay <= 1, "tune.weight_decay", decay, "give a number in [0, 1]")
        warmup = self.warmup_steps
        need(warmup >= 0, "tune.warmup_steps", warmup, "give 0 (no warm-up) or more")
        need(self.alpha > 0, "tune.alpha", self.alpha, "give 1 or more")
        need(self.rank > 0, "tune.rank", self.rank, "give 1 or more")
        clip = self.clip_norm
        need(0 < clip < math.inf, "tune.clip_norm", clip, "give a number above 0 (1e9: no limit)")
        need(bool(self.targets), "tune.targets", self.targets, "name layers, or all-linear")
        tokens = self.micro_batch_tokens
        need(tokens > 0, "tune.micro_batch_tokens", tokens, "give a positive number of tokens")
