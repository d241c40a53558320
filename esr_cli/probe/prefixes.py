"""The conditions of the decay probe: whose prefixes, of which lengths, are continued by whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from esr_cli.config import ProbeConfig
from esr_cli.graders.figures import Graded
from esr_cli.models.spelling import Spelling
from esr_cli.probe.analyses import decay
from esr_cli.probe.continuation import continued
from esr_cli.probe.material import Material

ByK = Mapping[int, decay.Verdicts]


def answers(material: Material, asked: ProbeConfig) -> tuple[decay.Answers, ByK, dict[str, ByK]]:
    """The arguments of `decay.rows`, over the questions that were judged in every condition."""
    # The student's responses come first, so that the teacher's engine starts only once.
    student = material.graded("before")
    rollouts = material.rollouts("before")
    lengths = [len(rollout.response_ids) for rollout in rollouts]
    ks = decay.ladder(lengths) if asked.at is None else sorted(asked.at)
    of_student = {k: continued(material, k) for k in ks}
    control = {k: continued(material, k, of="teacher") for k in ks if asked.control}
    mirror = {k: continued(material, k, of="teacher", by="before") for k in ks if asked.mirror}
    teacher = material.graded("teacher")
    by_k = [{k: each.graded for k, each in of.items()} for of in (of_student, control, mirror)]
    judged_Q = _judged([student, teacher, *(graded for of in by_k for graded in of.values())])

    def kept(values: Any) -> decay.Verdicts:
        """Values of all responses as questions x samples, of the judged questions."""
        return np.reshape(values, (len(judged_Q), -1))[judged_Q].tolist()

    def verdicts(graded: Sequence[Graded]) -> decay.Verdicts:
        return kept([[grade.correct for grade in each.grades] for each in graded])

    spelling = Spelling(material.plan.tokenizer_of("before"))
    texts = {k: ["".join(spelling(each.response_ids[:k])) for each in rollouts] for k in ks}
    return (
        decay.Answers(
            verdicts(student), verdicts(teacher),
            *({k: verdicts(graded) for k, graded in of.items()} for of in by_k),
        ),
        {k: kept(each.going) for k, each in of_student.items()},
        {
            word: {k: kept([word in text for text in texts[k]]) for k in ks}
            for word in asked.words
        },
    )  # fmt: skip


def _judged(conditions: Sequence[Sequence[Graded]]) -> list[bool]:
    """Whether each question was judged in every condition."""
    return [all(each.judged for each in question) for question in zip(*conditions, strict=True)]
