"""Settings of the watch on whole responses while rollouts are cut at N."""

from __future__ import annotations

from dataclasses import dataclass

from esr_cli.config.errors import need


@dataclass
class WatchConfig:
    """While rollouts are cut at N, whole responses are sampled at every `every`-th step, to
    `prompts` training prompts, from the weights that the engine holds.

    A watch is put off until all watches, itself included, take at most `share` of the time of the
    steps so far (null: never put off); the first comes before the first update in any case. `stop`
    ends the run at an alarm. The limits are `alarms.eos_rate` and `alarms.repeat_rate`; a null as
    `alarms.accuracy_fall` turns off the alarms on boxes and right answers.
    """

    every: int | None = 10
    prompts: int = 16
    share: float | None = 0.05
    stop: bool = False

    def __post_init__(self) -> None:
        every, share = self.every, self.share
        need(every is None or every >= 0, "watch.every", every, "give a number of steps, 0 for off")
        need(self.prompts > 0, "watch.prompts", self.prompts, "give 1 or more")
        good = share is None or 0 < share < 1
        need(good, "watch.share", share, "give a share of the time, or null for no limit")
        need(
            not self.stop or bool(every), "watch.stop", self.stop,
            f"watch.every={every} takes no watch; give a number of steps",
        )  # fmt: skip
