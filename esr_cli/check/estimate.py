"""Estimates the seconds of a run by phase: of a step, and of all steps and evaluations.

Every response is taken to run to its limit, so steps with responses that end earlier take less.
Start-up, checkpoints and grading are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from esr_cli.assembly.examiner import Asked
from esr_cli.assembly.memory import dtype_of
from esr_cli.assembly.objective import cuts, lengths_of
from esr_cli.check import trial
from esr_cli.check.facts import RunFacts
from esr_cli.check.trial import BUSY, Trial
from esr_cli.check.vllm_time import on_vllm
from esr_cli.config import TrainConfig
from esr_cli.config.finding import Finding
from esr_cli.models import loading
from esr_cli.types import Prompt

PHASES = ("generate", "score", "train", "sync")
# Steps whose lengths are averaged.
SEEN_STEPS = 50
# An evaluation that takes more than this share of a run is worth a warning, and this many seconds.
MUCH, MUCH_S = 0.5, 3600.0


@dataclass(frozen=True)
class Estimate:
    """Seconds of a step by phase, and of one evaluation by benchmark.

    `watching_s` is for all watches on whole responses. `busy` is the number of processes that
    competed for a core during the trial.
    """

    step: dict[str, float]
    evaluation: dict[str, float]
    steps: int
    evaluations: int
    watching_s: float = 0.0
    busy: float = 0.0

    @property
    def training_s(self) -> float:
        """Seconds of all steps."""
        return self.steps * sum(self.step.values())

    @property
    def evaluating_s(self) -> float:
        """Seconds of all evaluations."""
        return self.evaluations * sum(self.evaluation.values())

    @property
    def total_s(self) -> float:
        """Seconds of the run."""
        return self.training_s + self.watching_s + self.evaluating_s


def estimate(
    config: TrainConfig, found: Trial, prompts: list[Prompt], asked: Mapping[str, Asked]
) -> Estimate:
    """The estimate from a trial on this machine, for prompts as long as these."""
    longest, mean = lengths(config)
    count, samples = config.prompts_per_step, config.rollouts_per_prompt
    own, teachers, trained = (
        fmean(len(getattr(each, name)) for each in prompts)
        for name in ("student_ids", "teacher_ids", "trained_ids")
    )
    responses = count * samples
    step = {
        "generate": generation(config, found, Asked((round(own),) * count, samples, longest)),
        "score": responses * (teachers + mean) * found.score,
        "train": found.train_fixed + responses * (trained + mean) * found.train,
        "sync": found.sync,
    }
    evaluation = {name: generation(config, found, each) for name, each in asked.items()}
    watches = watching(config, found, round(own), config.steps * sum(step.values()))
    return Estimate(step, evaluation, config.steps, evaluations(config), watches, found.busy)


def watching(config: TrainConfig, found: Trial, prompt_tokens: int, training_s: float) -> float:
    """Seconds of the watches of a run whose steps take `training_s`; the first has no bound."""
    watch = config.watch
    if not watch.every or not cuts(config):
        return 0.0
    asked = Asked((prompt_tokens,) * watch.prompts, 1, config.pair.max_response_tokens)
    each = generation(config, found, asked)
    later = (config.steps - 1) // watch.every * each
    if watch.share is not None:
        later = min(later, max(0.0, watch.share * training_s - each))
    return each + later


def of_run(known: RunFacts, asked: Mapping[str, Asked]) -> Estimate:
    """The estimate of a run, after a trial on this machine, see `trial.reason_against`."""
    config = known.config
    responses = [config.prompts_per_step * config.rollouts_per_prompt]
    responses += [len(each.prompts) * each.samples for each in asked.values()]
    rows = min(config.rollout.max_sequences, max(responses))
    measured = trial.measure(config, known.pairing, known.prompts, lengths(config)[0], rows)
    if config.rollout.engine == "vllm":
        device = loading.pick_device(config.execution.device)
        measured = on_vllm(measured, known.models["student"], device, dtype_of(config))
    return estimate(config, measured, known.prompts, asked)


def lengths(config: TrainConfig) -> tuple[int, float]:
    """The longest and the mean response of a step, in tokens, as means over the run."""
    planned, count = lengths_of(config), config.prompts_per_step * config.rollouts_per_prompt
    steps = range(0, config.steps, math.ceil(config.steps / SEEN_STEPS))
    every = [planned.lengths_at(step, count) for step in steps]
    return round(fmean(map(max, every))), fmean(map(fmean, every))


def evaluations(config: TrainConfig) -> int:
    """The evaluations of a run: before it, every `eval_every` steps, and after it."""
    every = config.eval_every
    return 2 + ((config.steps - 1) // every if every else 0)


def generation(config: TrainConfig, found: Trial, asked: Asked) -> float:
    """Seconds in which the engine samples, `rollout.max_sequences` responses at a time."""
    left, seconds = len(asked.prompts) * asked.samples, sum(asked.prompts) * found.read
    context = fmean(asked.prompts) + asked.max_tokens / 2
    while left > 0:
        rows = min(left, config.rollout.max_sequences)
        seconds += (asked.max_tokens - 1) * found.token(rows, context)
        left -= rows
    return seconds


def finding(found: Estimate, asked: Mapping[str, Asked]) -> Finding:
    """A line on the time of the run; a warning if evaluations outweigh the training."""
    text = (
        f"about {sum(found.step.values()):.2g} s a step, {words(found.training_s)} for "
        f"{found.steps} steps, {words(found.evaluating_s)} for {found.evaluations} evaluations "
        "if all responses run to their limits"
    )
    if found.busy > BUSY:
        text += f" (timed with {found.busy:.1f} processes a core; it takes less when idle)"
    if found.evaluating_s < MUCH_S or found.evaluating_s < MUCH * found.total_s:
        return Finding("ok", "time", text)
    name = max(found.evaluation, key=lambda each: found.evaluation[each])
    each, share = asked[name], found.evaluating_s / found.total_s
    text = (
        f"{text}: evaluation is {share:.0%} of the run, mostly of {name} ({len(each.prompts)} "
        f"questions x {each.samples} samples x {each.max_tokens} tokens, {found.evaluations} times)"
    )
    ways = [] if len(each.prompts) <= 1 else [f"limit={max(1, len(each.prompts) // 10)}"]
    ways += [f"benchmark.{name}.samples=1"] if each.samples > 1 else []
    ways += ["a larger eval_every"] if found.evaluations > 2 else []
    ways += [f"a smaller benchmark.{name}.max_tokens"]
    return Finding("warning", "time", text, ", or ".join(ways))


def words(seconds: float) -> str:
    """A time as people say it: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
