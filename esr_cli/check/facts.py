"""Everything known about a run before its models load, and the findings on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from esr_cli.assembly import memory
from esr_cli.assembly.objective import lengths_of
from esr_cli.assembly.pairing import Pairing
from esr_cli.check import (
    compatibility,
    limits,
    machine,
    paper,
    placement,
    teachers,
    trainers,
    tuning,
    wire,
)
from esr_cli.config import TrainConfig
from esr_cli.config.finding import Finding
from esr_cli.models import outlines
from esr_cli.types import Prompt

# At least this many prompts are measured, or all of them if the task has fewer.
MEASURED_PROMPTS = 64


@dataclass(frozen=True)
class RunFacts:
    """Tokenizers, their pairing, the first prompts, and the models without weights.

    The student is the first of the `models`.
    """

    config: TrainConfig
    student: Any
    teacher: Any
    pairing: Pairing
    prompts: list[Prompt]
    models: dict[str, Any]

    @cached_property
    def needs(self) -> list[memory.Need]:
        """Memory by part."""
        longest = max(prompt.longest for prompt in self.prompts)
        n = lengths_of(self.config).longest
        student, *of_teachers = self.models.values()
        return memory.needs(self.config, student, of_teachers, longest, n)


def gather(
    config: TrainConfig, student: Any, teacher: Any, pairing: Pairing, task: Any
) -> RunFacts:  # fmt: skip
    """Collects the facts; raises `ConfigError` if a step needs more prompts than there are."""
    count = max(config.prompts_per_step, min(MEASURED_PROMPTS, task.available))
    models = {"student": outlines.skeleton(config.pair.student)}
    for name, model in config.pair.all_teachers.items():
        models[teachers.role_of(name)] = outlines.skeleton(model)
    return RunFacts(config, student, teacher, pairing, task.train(0, count), models)


def findings(run_facts: RunFacts) -> list[Finding]:
    """All findings on compatibility, context, lengths, tuning, memory and the machine."""
    config, pair = run_facts.config, run_facts.config.pair
    shapes = {role: model.config.get_text_config() for role, model in run_facts.models.items()}
    rows = {role: shape.vocab_size for role, shape in shapes.items()}
    named = {"student": pair.student}
    named |= {teachers.role_of(name): model for name, model in pair.all_teachers.items()}
    trusted = [role for role, model in named.items() if model.trust_remote_code]
    size = sum(need.at_n for need in run_facts.needs if need.part == "student's weights")
    checkpoint = memory.checkpoint_gib(config, run_facts.models["student"])
    return [
        *compatibility.vocabularies(
            pair, run_facts.pairing, run_facts.student, run_facts.teacher, rows
        ),
        *compatibility.ends(pair, run_facts.pairing, run_facts.student, run_facts.teacher),
        *compatibility.prompts(pair, run_facts.prompts, run_facts.teacher),
        *teachers.of_others(config, run_facts.pairing, run_facts.prompts),
        *limits.context(config, shapes, run_facts.prompts),
        *limits.lengths(config, lengths_of(config)),
        *limits.against_teacher(config, lengths_of(config)),
        *limits.staleness(config),
        *limits.positions(config, lengths_of(config).longest),
        *tuning.targets(run_facts.models["student"], config.tune),
        *tuning.precision(config),
        *tuning.prompt_gradient(config, run_facts.models["student"]),
        *tuning.rates(config.tune, config.steps),
        *tuning.compiling(run_facts.models, config.tune),
        *memory.against_machine(config, run_facts.needs),
        *memory.of_vllm(config, run_facts.models["student"], run_facts.needs),
        *machine.devices(config),
        machine.dtype(config),
        *teachers.findings(config),
        *trainers.findings(config, run_facts.models["student"]),
        *placement.findings(config),
        *wire.findings(config, run_facts.models, lengths_of(config).longest),
        *paper.findings(
            config, run_facts.models, round(fmean(each.longest for each in run_facts.prompts))
        ),
        *machine.disk(config, size, checkpoint),
        *(
            Finding("warning", "remote code", f"the {role}'s own code runs here, as your user")
            for role in trusted
        ),
    ]
