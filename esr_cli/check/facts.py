"""Everything that is known of a run before a model loads, and what there is to say of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from esr_cli.assembly import memory
from esr_cli.assembly.objective import lengths_of
from esr_cli.assembly.pairing import Pairing
from esr_cli.check import compatibility, limits, machine, tuning
from esr_cli.config import TrainConfig
from esr_cli.config.finding import Finding
from esr_cli.models import outlines
from esr_cli.types import Prompt

# Of every task at least so many prompts are measured, where it has them.
MEASURED_PROMPTS = 64


@dataclass(frozen=True)
class RunFacts:
    """Tokenizers, how they meet, the first prompts, and both models without weights."""

    config: TrainConfig
    student: Any
    teacher: Any
    pairing: Pairing
    prompts: list[Prompt]
    models: dict[str, Any]

    @cached_property
    def needs(self) -> list[memory.Need]:
        """Memory by part."""
        longest = max(max(len(p.student_ids), len(p.teacher_ids)) for p in self.prompts)
        n = lengths_of(self.config).longest
        models = self.models["student"], self.models["teacher"]
        return memory.needs(self.config, *models, longest, n)


def gather(
    config: TrainConfig, student: Any, teacher: Any, pairing: Pairing, task: Any
) -> RunFacts:  # fmt: skip
    """Gathers it; raises `ConfigError` where a step asks for more prompts than there are."""
    count = max(config.prompts_per_step, min(MEASURED_PROMPTS, task.available))
    models = {
        role: outlines.skeleton(getattr(config.pair, role)) for role in ("student", "teacher")
    }
    return RunFacts(config, student, teacher, pairing, task.train(0, count), models)


def findings(known: RunFacts) -> list[Finding]:
    """Every line on how the pair meets, what trains, and what it takes."""
    config, pair = known.config, known.config.pair
    shapes = {role: model.config.get_text_config() for role, model in known.models.items()}
    trusted = [role for role in ("student", "teacher") if getattr(pair, role).trust_remote_code]
    size = sum(need.at_n for need in known.needs if need.part == "student's weights")
    trained = outlines.trained_parameters(known.models["student"], config.tune) * 4 / memory.GIB
    return [
        *compatibility.vocabularies(pair, known.pairing, known.student, known.teacher),
        *compatibility.ends(pair, known.pairing, known.student, known.teacher),
        *limits.context(config, shapes, known.prompts),
        *limits.lengths(config, lengths_of(config)),
        *limits.positions(config, lengths_of(config).longest),
        *tuning.targets(known.models["student"], config.tune),
        *tuning.compiling(known.models, config.tune),
        *memory.against_machine(config, known.needs),
        *machine.devices(config),
        *machine.disk(config, size, trained),
        *(
            Finding("warning", "remote code", f"the {role}'s own code runs here, as you")
            for role in trusted
        ),
    ]
