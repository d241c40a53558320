"""The schedule of the rollout length N."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.errors import need, need_choices, one_of

SCHEDULES = ("constant", "linear", "steps", "share", "random")
FULL_IN = ("responses", "steps")


@dataclass
class LengthsConfig:
    """The schedule of N: `constant`; `linear` from `start` to N over the first `over` of the steps;
    `steps`, a list `stages` of [step, length], where each length applies from its step on;
    `share`, a fraction of the longest response; or `random`, drawn for each response from 1 to
    2 N - 1.

    A fraction `full_share` runs to full length regardless of N: of each step's `responses`, or of
    the `steps`, all responses at once (`full_in`).
    """

    schedule: str = one_of(SCHEDULES)
    start: int = 8
    over: float = 1.0
    stages: list[list[int]] = field(default_factory=list)
    share: float = 0.1
    full_share: float = 0.0
    full_in: str = one_of(FULL_IN)

    def __post_init__(self) -> None:
        need_choices(self, "lengths.")
        need(self.start > 0, "lengths.start", self.start, "give 1 or more tokens")
        for key in ("over", "share"):
            value = getattr(self, key)
            need(0 < value <= 1, f"lengths.{key}", value, "give a share in (0, 1]")
        full = self.full_share
        need(0 <= full <= 1, "lengths.full_share", full, "give a share in [0, 1]")
        remedy = "give [[step, length], ...], rising steps from 0, lengths of 1 or more"
        steps = [stage[0] for stage in self.stages if len(stage) == 2]
        good = len(steps) == len(self.stages) and steps == sorted(set(steps))
        need(good and all(at >= 0 for at in steps), "lengths.stages", self.stages, remedy)
        need(all(n > 0 for _, n in self.stages), "lengths.stages", self.stages, remedy)
        wanted = self.schedule == "steps"
        need(not wanted or (bool(steps) and steps[0] == 0), "lengths.stages", self.stages, remedy)
