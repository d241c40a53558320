"""Settings of `esr probe`: a pair or a run, and the probes to measure on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.errors import ConfigError, need, one_of
from esr_cli.config.train import TrainConfig

# Whether each probe needs a run. The order is the one in which they share samples and scores.
PROBES = {
    "decay": False, "profile": False, "categories": False, "commitment": False, "cascade": True,
    "samples": False, "stability": True,
}  # fmt: skip
# Probes that grade responses. Training prompts have no reference answers.
GRADED = ("decay", "samples")


@dataclass
class ProbeConfig:
    """The settings of one probe; docs/probes.md lists those that each probe uses.

    `at` lists the values of k for decay (null: chosen from the response lengths). With `control`
    the teacher also continues its own prefixes, and with `mirror` the student the teacher's. For
    each of `words` decay has the accuracy after prefixes that contain it. `share` is the fraction
    of the total KL that N tokens must cover (profile), or the fraction of positions (commitment).
    `first` is the number of first positions that profile compares with the rest
    (null: 100, or the suggested N for shorter responses). `questions` is the number of questions on
    the page of samples.
    """

    at: list[int] | None = None
    control: bool = True
    mirror: bool = False
    words: list[str] = field(default_factory=list)
    share: float = 0.45
    first: int | None = None
    questions: int = 8

    def __post_init__(self) -> None:
        at = self.at
        good = at is None or (bool(at) and min(at) >= 0 and len(set(at)) == len(at))
        need(good, "probe.decay.at", at, "give numbers of tokens, 0 or more, each once, or null")
        words = self.words
        good = all(words) and len(set(words)) == len(words)
        need(good, "probe.decay.words", words, "give texts that are not empty, each once")
        need(0 < self.share <= 1, "probe.*.share", self.share, "give a share in (0, 1]")
        good = self.first is None or self.first > 0
        need(good, "probe.profile.first", self.first, "give 1 or more tokens, or null")
        need(self.questions > 0, "probe.*.questions", self.questions, "give 1 or more")


@dataclass
class ProbeCommandConfig(TrainConfig):
    """Settings of `esr train` for a pair; with `run`, they are read from the run's folder.

    The prompts are at most `prompts` evenly spaced questions of one benchmark, with `samples`
    responses each (null: the benchmark's own number). If `run_dir` is null, esr chooses the folder.
    With `source=task`, the prompts are the first training prompts, with one full-length response
    each, sampled with the rollout settings.
    """

    probe: dict[str, ProbeConfig] = field(default_factory=dict)
    run: str | None = None
    prompts: int = 128
    samples: int | None = None
    source: str = one_of(("benchmark", "task"))

    def __post_init__(self) -> None:
        super().__post_init__()
        need(bool(self.probe), "probe", "[]", f"name one or more of {', '.join(PROBES)}")
        for name in self.probe:
            need(name in PROBES, "probe", name, f"choose one of {', '.join(PROBES)}")
            if PROBES[name] and not self.run:
                raise ConfigError(f"probe={name}: needs a run; give run=RUN_DIR")
        graded = [name for name in GRADED if name in self.probe]
        if self.source == "task" and graded:
            raise ConfigError(f"source=task: probe={graded[0]} needs answers; drop one of the two")
        several = self.source == "task" and bool(self.pair.teachers)
        remedy = "a probe asks one teacher; leave out pair.teachers, or give source=benchmark"
        need(not several, "source", self.source, remedy)
        need(self.resume is None, "resume", self.resume, "goes with esr train; leave it out")
        need(self.prompts > 0, "prompts", self.prompts, "give 1 or more")
        need(self.samples is None or self.samples > 0, "samples", self.samples, "give 1 or more")
