"""Where the figures go beside the run folder."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.errors import need_choice


@dataclass
class TrackingConfig:
    """W&B's mode, and where the run stands there.

    `group` is the sweep's name in a sweep, `name` the run folder's when null; `tags` come beside
    those that esr gives by itself, `entity` is W&B's own default when null. `samples` responses are
    kept for looking at each evaluation.
    """

    mode: str = "offline"
    entity: str | None = None
    project: str = "esr"
    group: str | None = None
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    samples: int = 8

    def __post_init__(self) -> None:
        need_choice("tracking.mode", self.mode, ("offline", "online", "disabled"))
