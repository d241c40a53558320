"""How the student learns."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.errors import need, need_choice


@dataclass
class TuneConfig:
    """LoRA on all linear layers (the paper: r=32, alpha=64) or `full` fine-tuning, by AdamW.

    `targets` names other layers to adapt, by the ends of their names. `schedule` holds the rate or
    lets it fall linearly to zero, after `warmup_steps`. `micro_batch_tokens` counts padded tokens
    of one forward pass. `compile` has torch.compile fuse the layers of both models: half a minute
    at the start for a faster step (docs/performance.md).
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
        need(rate > 0, "tune.learning_rate", rate, "give a number above 0")
        need(self.rank > 0, "tune.rank", self.rank, "give 1 or more")
        need(self.clip_norm > 0, "tune.clip_norm", self.clip_norm, "give a number above 0")
        need(bool(self.targets), "tune.targets", self.targets, "name layers, or all-linear")
        tokens = self.micro_batch_tokens
        need(tokens > 0, "tune.micro_batch_tokens", tokens, "give a positive number of tokens")
