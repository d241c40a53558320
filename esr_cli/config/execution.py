"""Settings of the worker processes and their devices."""

from __future__ import annotations

import re
from dataclasses import dataclass

from esr_cli.config.errors import need, need_choices, one_of

PLACES = ("process", "inline", "ray")
# A worker shows a sign of life every second. The longest is as good as no limit.
LEAST_SILENCE_S, LONGEST_SILENCE_S = 4.0, 1e9


@dataclass
class ExecutionConfig:
    """`engine` and `teacher` run `inline`, each in its own `process`, or as actors of `ray`.

    `rollouts` engines share the prompts of a step, and `teachers` teachers its responses. With
    several `trainers`, each holds a shard of the student (FSDP2), where the engines are: in a
    process of its own, or as an actor; one trains in the process of the command. A checkpoint of
    more than `whole_gib` GiB (weights and two moments) is written by the ranks, each its part, into
    a run folder that all of them see; a smaller one is gathered and is one file. `address`
    is that of Ray: `local` starts it on this machine, `auto` joins the cluster of this machine, and
    HOST:PORT another.
    `restarts` is the maximum number of times that a run restarts a worker that died. A worker whose
    process shows no sign of life for `silence_s` seconds is killed, and then it has died. So is one
    whose call does not return in time; `patience` multiplies these time limits, which grow with the
    tokens and the parameters (docs/training.md). `device` is `auto` (CUDA if available), `cpu`,
    `cuda`, or a specific GPU such as `cuda:1`.
    """

    engine: str = one_of(PLACES)
    teacher: str = one_of(PLACES)
    rollouts: int = 1
    teachers: int = 1
    trainers: int = 1
    whole_gib: float = 16.0
    address: str = "local"
    restarts: int = 3
    silence_s: float = 120.0
    patience: float = 1.0
    device: str = "auto"
    teacher_device: str = "auto"

    def __post_init__(self) -> None:
        need_choices(self, "execution.")
        for key in ("device", "teacher_device"):
            wanted = getattr(self, key)
            named = re.fullmatch(r"auto|cpu|cuda(:\d+)?", wanted)
            need(bool(named), f"execution.{key}", wanted, "give auto, cpu, cuda or cuda:1")
        places = {"rollouts": self.engine, "teachers": self.teacher, "trainers": self.engine}
        for key, place in places.items():
            count = getattr(self, key)
            need(count > 0, f"execution.{key}", count, "give 1 or more")
            several = "several need execution=process or execution=ray"
            need(count == 1 or place != "inline", f"execution.{key}", count, several)
        need(self.whole_gib >= 0, "execution.whole_gib", self.whole_gib, "give 0 or more")
        known = re.fullmatch(r"local|auto|[^:\s]+:\d+", self.address)
        need(bool(known), "execution.address", self.address, "give local, auto or HOST:PORT")
        need(self.restarts >= 0, "execution.restarts", self.restarts, "give 0 or more")
        silence, patience = self.silence_s, self.patience
        fits = LEAST_SILENCE_S <= silence <= LONGEST_SILENCE_S
        need(fits, "execution.silence_s", silence, "give a number of seconds in [4, 1e9]")
        need(
            0.01 <= patience <= 1e6, "execution.patience", patience, "give a number in [0.01, 1e6]"
        )

    def in_shards(self, checkpoint_gib: float) -> bool:
        """Whether each rank writes its part of a checkpoint of that size."""
        return self.trainers > 1 and checkpoint_gib > self.whole_gib
