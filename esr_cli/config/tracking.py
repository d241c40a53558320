"""Where the figures go beside the run folder."""

from __future__ import annotations

from dataclasses import dataclass

from esr_cli.config.errors import need_choice


@dataclass
class TrackingConfig:
    """W&B's mode and project; `samples` responses are kept for looking at each evaluation."""

    mode: str = "offline"
    project: str = "esr"
    samples: int = 8

    def __post_init__(self) -> None:
        need_choice("tracking.mode", self.mode, ("offline", "online", "disabled"))
