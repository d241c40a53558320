"""Computes the rows of each probe from samples and reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from esr_cli.assembly.objective import trained_positions
from esr_cli.config import ConfigError, ProbeCommandConfig, ProbeConfig
from esr_cli.models.spelling import Spelling
from esr_cli.probe import prefixes
from esr_cli.probe.analyses import (
    cascade,
    categories,
    commitment,
    decay,
    profile,
    samples,
    stability,  # fmt: skip
)
from esr_cli.probe.material import Material
from esr_cli.runs.record import rows_of_run

Rows = list[dict[str, Any]]


def of(name: str, config: ProbeCommandConfig, material: Material | None) -> Rows:
    """The rows of a probe; only stability needs no material."""
    if material is None:
        return _stability(config)
    return MAKE[name](material, config.probe[name])


def headline(name: str, rows: Rows) -> str:
    """The result of a probe in one line."""
    return HEADLINES[name](rows)


def _decay(material: Material, asked: ProbeConfig) -> Rows:
    return decay.rows(*prefixes.answers(material, asked))


def _profile(material: Material, asked: ProbeConfig) -> Rows:
    found = [
        row for who in material.plan.students
        for row in profile.rows(material.reads(who), who, asked.share, asked.first)
    ]  # fmt: skip
    config = material.plan.config
    # Behind servers and on vLLM the teacher only scores, and may be too large to sample here.
    if config.source == "task" and config.teacher.engine == "local":
        found.append(profile.length_of_teacher(_lengths_of_teacher(material)))
    return found


def _categories(material: Material, _: ProbeConfig) -> Rows:
    students = material.plan.students
    return [row for who in students for row in categories.rows(material.reads(who), who)]


def _commitment(material: Material, asked: ProbeConfig) -> Rows:
    lengths = {who: _lengths(material, who) for who in (*material.plan.students, "teacher")}
    after = None
    if "after" in material.plan.students:
        after = material.reads("before", by="after"), material.reads("after")
    return commitment.rows(material.reads("before"), lengths, asked.share, after)


def _lengths(material: Material, who: str) -> list[list[int]]:
    """Response lengths in tokens, questions x samples."""
    samples = material.plan.exams[who].sampling.samples
    lengths = [len(rollout.response_ids) for rollout in material.rollouts(who)]
    return np.reshape(lengths, (-1, samples)).tolist()


def _lengths_of_teacher(material: Material) -> list[int]:
    """The lengths of the teacher's responses in the student's tokens, each with its end."""
    student, exam = material.plan.tokenizers["student"], material.plan.exams["teacher"]
    texts = map(exam.response_of, material.rollouts("teacher"))
    return [
        len(student(each.text, add_special_tokens=False).input_ids) + (each.finish == "stop")
        for each in texts
    ]


def _cascade(material: Material, _: ProbeConfig) -> Rows:
    config, steps = material.plan.config, material.plan.steps["after"]
    trained = trained_positions(config, steps)
    why = f"loss.select={config.loss.select} may train any position"
    same_text = material.reads("before", by="after")
    return cascade.rows(material.reads("before"), material.reads("after"), same_text, trained, why)


def _samples(material: Material, asked: ProbeConfig) -> Rows:
    """The first response of each model to the first questions."""
    plan, shown = material.plan, []
    for number, question in enumerate(plan.benchmark.questions[: asked.questions]):
        index = number * plan.exams["before"].sampling.samples
        for who in (*plan.students, "teacher"):
            rollout, graded = material.rollouts(who)[index], material.graded(who)[number]
            if who == "teacher":
                tokens = Spelling(plan.tokenizer_of(who))(rollout.response_ids)
                kl = np.full(len(tokens), np.nan)
            else:
                read = material.reads(who)[index]
                tokens, kl = read.tokens, read.kl
            grade = graded.grades[0]
            shown.append(
                samples.Sample(
                    question.id, who, rollout.prompt.text, graded.responses[0].text, tokens, kl,
                    grade.correct, grade.reason,
                )
            )  # fmt: skip
    return samples.rows(shown)


def _stability(config: ProbeCommandConfig) -> Rows:
    folder = Path(str(config.run))
    evals = rows_of_run(folder, "eval.jsonl")
    if not evals:
        raise ConfigError(f"run={folder}: holds no evaluation (eval.jsonl)")
    return stability.rows(evals, rows_of_run(folder, "generations.jsonl"))


MAKE: dict[str, Callable[[Material, ProbeConfig], Rows]] = {
    "decay": _decay,
    "profile": _profile,
    "categories": _categories,
    "commitment": _commitment,
    "cascade": _cascade,
    "samples": _samples,
    "stability": lambda material, _: _stability(material.plan.config),
}
HEADLINES: dict[str, Callable[[Rows], str]] = {
    "decay": decay.headline,
    "profile": profile.headline,
    "categories": categories.headline,
    "commitment": commitment.headline,
    "cascade": cascade.headline,
    "samples": samples.headline,
    "stability": stability.headline,
}
