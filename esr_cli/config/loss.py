"""The objective."""

from __future__ import annotations

from dataclasses import dataclass

from esr_cli.config.errors import need


@dataclass
class LossConfig:
    """Exact reverse KL; `temperature` divides both models' logits (apart from the sampling one).

    `tile_tokens` positions pass the output heads at a time; it changes memory, not the value.
    """

    temperature: float = 1.0
    tile_tokens: int = 256

    def __post_init__(self) -> None:
        need(self.temperature > 0, "loss.temperature", self.temperature, "give a number above 0")
        need(self.tile_tokens > 0, "loss.tile_tokens", self.tile_tokens, "give a positive number")
