"""Settings of the alarms that warn during training."""

from __future__ import annotations

from dataclasses import dataclass

from esr_cli.config.errors import need


@dataclass
class AlarmsConfig:
    """Limits; null switches an alarm off. Step metrics are averaged over `window_steps` steps.

    `repeat_rate` is the maximum share of responses that repeat themselves. `eos_rate` is the
    minimum share of full rollouts that end with an end-of-text token. `length_growth` is the
    maximum ratio of their mean length to its initial value. `accuracy_fall` is the maximum drop of
    accuracy (a share) below its peak.
    """

    window_steps: int = 10
    repeat_rate: float | None = 0.2
    eos_rate: float | None = 0.2
    length_growth: float | None = 2.0
    accuracy_fall: float | None = 0.05

    def __post_init__(self) -> None:
        steps = self.window_steps
        need(steps > 0, "alarms.window_steps", steps, "give 1 or more")
        for key in ("repeat_rate", "eos_rate", "accuracy_fall"):
            share = getattr(self, key)
            need(share is None or 0 < share < 1, f"alarms.{key}", share, "give a share, or null")
        growth = self.length_growth
        need(
            growth is None or growth > 1,
            "alarms.length_growth",
            growth,
            "give more than 1, or null",
        )
