"""Settings of the trackers: W&B, TensorBoard and trackio."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.errors import need, need_choices, one_of


@dataclass
class TrackingConfig:
    """Where a run is mirrored, and under which name, group and tags.

    `mode` is W&B's, `entity` its user or team, and `project` its project and trackio's.
    `tensorboard` and `trackio` switch these on. `space` is the Hugging Face Space to which trackio
    sends a run (null: files of this machine). If `name` is null, it is made of pair, N and seed;
    in a sweep `group` defaults to the sweep. `tags` are added to those that esr sets. Each
    evaluation logs `samples` responses of each benchmark for inspection. `model` gives the trained
    student to W&B and trackio as an artifact.
    """

    mode: str = one_of(("offline", "online", "disabled"))
    tensorboard: bool = False
    trackio: bool = False
    entity: str | None = None
    project: str = "esr"
    space: str | None = None
    group: str | None = None
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    samples: int = 8
    model: bool = False

    def __post_init__(self) -> None:
        need_choices(self, "tracking.")
        need(self.samples >= 0, "tracking.samples", self.samples, "give 0 or more")
        need(
            not self.model or self.mode != "disabled" or self.trackio, "tracking.model", "true",
            "only W&B and trackio take a model; add one of them to tracking, or leave it out",
        )  # fmt: skip
        need(
            self.space is None or (self.trackio and self.space != ""), "tracking.space", self.space,
            "give USER/NAME with tracking=trackio, or leave it out",
        )  # fmt: skip
