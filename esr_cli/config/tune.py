"""Settings of the fine-tuning method and the optimizer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from esr_cli.config.errors import need, need_choices, one_of

SCHEDULES = ("constant", "linear", "cosine")


@dataclass
class TuneConfig:
    """LoRA on all linear layers (the paper: r=32, alpha=64) or `full` fine-tuning, with AdamW.

    `targets` selects other layers to adapt, by the suffixes of their names. `dropout` is the share
    of inputs that LoRA's low-rank branch does not see in a training step. `master=none` trains
    16-bit weights without fp32 copies. `schedule` keeps the learning rate constant or lowers it to
    zero over the run, linearly or along half a cosine; `warmup_steps` or `warmup_share` of the
    steps raise it first. `micro_batch_tokens` is the number of padded tokens in one forward pass.
    `compile` applies torch.compile to the layers of both models: half a minute at the start, then
    faster steps (docs/performance.md). `prompt_gradient=false` computes the states of a prompt's
    tokens, all but its last one, without gradient. docs/training.md has the formulas.
    """

    method: str = one_of(("lora", "full"))
    rank: int = 32
    alpha: int = 64
    targets: list[str] = field(default_factory=lambda: ["all-linear"])
    dropout: float = 0.0
    master: str = one_of(("float32", "none"))
    learning_rate: float = 5e-5
    schedule: str = one_of(SCHEDULES)
    warmup_steps: int = 0
    warmup_share: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    micro_batch_tokens: int = 16384
    gradient_checkpointing: bool = False
    compile: bool = False
    prompt_gradient: bool = True

    def __post_init__(self) -> None:
        need_choices(self, "tune.")
        rate = self.learning_rate
        need(0 < rate <= 1, "tune.learning_rate", rate, "give a number in (0, 1]")
        for key in ("beta1", "beta2"):
            value = getattr(self, key)
            need(0 <= value < 1, f"tune.{key}", value, "give a number in [0, 1)")
        decay = self.weight_decay
        need(0 <= decay <= 1, "tune.weight_decay", decay, "give a number in [0, 1]")
        warmup = self.warmup_steps
        need(warmup >= 0, "tune.warmup_steps", warmup, "give 0 (no warm-up) or more")
        share = self.warmup_share
        need(0 <= share < 1, "tune.warmup_share", share, "give a share of the steps in [0, 1)")
        need(
            not (warmup and share), "tune.warmup_share", share,
            f"tune.warmup_steps={warmup} is set too; give tune.warmup_steps=0",
        )  # fmt: skip
        dropout, full = self.dropout, self.method == "full"
        need(0 <= dropout < 1, "tune.dropout", dropout, "give a share in [0, 1)")
        need(
            not (dropout and full), "tune.dropout", dropout,
            "only LoRA has dropout; leave it out with tune.method=full",
        )  # fmt: skip
        need(
            full or self.master == "float32", "tune.master", self.master,
            "LoRA's adapters are always fp32; only tune.method=full can do without",
        )  # fmt: skip
        need(self.alpha > 0, "tune.alpha", self.alpha, "give 1 or more")
        need(self.rank > 0, "tune.rank", self.rank, "give 1 or more")
        clip = self.clip_norm
        need(0 < clip < math.inf, "tune.clip_norm", clip, "give a number above 0 (1e9: no limit)")
        need(bool(self.targets), "tune.targets", self.targets, "name layers, or all-linear")
        recomputed = self.gradient_checkpointing
        need(
            self.prompt_gradient or not recomputed, "tune.gradient_checkpointing", recomputed,
            "layers that are recomputed keep no prompts; leave it out with "
            "tune.prompt_gradient=false",
        )  # fmt: skip
        need(
            self.prompt_gradient or not self.compile, "tune.compile", self.compile,
            "passes after kept prompts are not compiled; leave it out with "
            "tune.prompt_gradient=false",
        )  # fmt: skip
        tokens = self.micro_batch_tokens
        need(tokens > 0, "tune.micro_batch_tokens", tokens, "give a positive number of tokens")

    @property
    def follows_steps(self) -> bool:
        """Whether the learning rate of a step depends on the number of steps of the run."""
        return self.schedule != "constant" or self.warmup_share > 0

    def warmup(self, steps: int) -> int:
        """The number of warm-up steps in a run of `steps`, rounded to the nearest."""
        return self.warmup_steps or round(self.warmup_share * steps)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, from 0, in a run of `steps`.

        With W warm-up steps it rises as (step + 1) / W. `linear` multiplies that by
        1 - step / steps. `cosine` begins after the warm-up, at the full rate:
        (1 + cos(pi (step - W) / (steps - W))) / 2, as transformers' schedule of that name.
        """
        warmup = self.warmup(steps)
        rate = self.learning_rate * min(1.0, (step + 1) / max(1, warmup))
        if self.schedule == "linear":
            return rate * (1 - step / steps)
        if self.schedule == "cosine" and step >= warmup:
            return rate * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2
        return rate
