"""Settings of W&B tracking."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.errors import need, need_choices, one_of


@dataclass
class TrackingConfig:
    """W&B's mode, and the entity, project, group and name of the run.

    In a sweep, `group` defaults to the name of the sweep. If `name` is null, it is derived from the
    run folder; if `entity` is null, W&B's default applies. `tags` are added to those that esr sets.
    Each evaluation logs `samples` responses of each benchmark for inspection.
    """

    mode: str = one_of(("offline", "online", "disabled"))
    entity: str | None = None
    project: str = "esr"
    group: str | None = None
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    samples: int = 8

    def __post_init__(self) -> None:
        need_choices(self, "tracking.")
        need(self.samples >= 0, "tracking.samples", self.samples, "give 0 or more")
