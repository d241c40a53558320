"""The whole of `esr probe`: a pair or a run, and what is measured of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.errors import ConfigError, need, need_choice
from esr_cli.config.train import TrainConfig

# In the order in which they share what is sampled and read, with whether a run is needed.
PROBES = {
    "decay": False, "profile": False, "categories": False, "commitment": False, "cascade": True,
    "samples": False, "stability": True,
}  # fmt: skip
# Those that grade responses; training prompts come without answers.
GRADED = ("decay", "samples")


@dataclass
class ProbeConfig:
    """The settings of one probe; each takes those that its page in docs/probes.md names.

    `at` lists decay's k (null: by the lengths of the responses); `share` is profile's part of
    the whole KL that N tokens must hold, and commitment's part of the positions; `questions` how
    many samples shows.
    """

    at: list[int] | None = None
    share: float = 0.45
    questions: int = 8

    def __post_init__(self) -> None:
        at = self.at
        good = at is None or (bool(at) and min(at) >= 0 and len(set(at)) == len(at))
        need(good, "probe.decay.at", at, "give numbers of tokens, 0 or more, each once, or null")
        need(0 < self.share <= 1, "probe.*.share", self.share, "give a share in (0, 1]")
        need(self.questions > 0, "probe.*.questions", self.questions, "give 1 or more")


@dataclass
class ProbeCommandConfig(TrainConfig):
    """What `esr train` takes, for the pair; with `run` all of that comes from the run's folder.

    At most `prompts` questions of one benchmark are asked, evenly spaced, `samples` responses each
    (null: as many as the benchmark says); `out` is chosen by esr when null. With `source=task` the
    first prompts of training are asked instead, as rollouts are drawn but whole, one response each.
    """

    probe: dict[str, ProbeConfig] = field(default_factory=dict)
    run: str | None = None
    out: str | None = None
    prompts: int = 128
    samples: int | None = None
    source: str = "benchmark"

    def __post_init__(self) -> None:
        super().__post_init__()
        need(bool(self.probe), "probe", "[]", f"name one or more of {', '.join(PROBES)}")
        for name in self.probe:
            need(name in PROBES, "probe", name, f"choose of {', '.join(PROBES)}")
            if PROBES[name] and not self.run:
                raise ConfigError(f"probe={name}: needs a run; give run=RUN_DIR")
        need_choice("source", self.source, ("benchmark", "task"))
        graded = [name for name in GRADED if name in self.probe]
        if self.source == "task" and graded:
            raise ConfigError(f"source=task: probe={graded[0]} needs answers; drop one of the two")
        need(self.resume is None, "resume", self.resume, "goes with esr train; leave it out")
        need(self.prompts > 0, "prompts", self.prompts, "give 1 or more")
        need(self.samples is None or self.samples > 0, "samples", self.samples, "give 1 or more")
