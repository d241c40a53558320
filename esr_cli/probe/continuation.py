"""The teacher goes on from the student's text: what the decay probe samples and grades."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from esr_cli.benchmarks.exam import response_of
from esr_cli.graders.figures import Graded, Response
from esr_cli.probe.material import Material, prefixed
from esr_cli.types import Prompt, Rollout


@dataclass(frozen=True)
class Continued:
    """From k tokens on: verdicts a question, and whether each response had not ended before."""

    graded: list[Graded]
    going: list[bool]


def continued(material: Material, k: int) -> Continued:
    """The first `k` tokens of each response, finished by the teacher.

    A response that ended before is graded as it is, and so is one that leaves no room to go on.
    """
    rollouts = material.rollouts("before")
    going = [len(rollout.response_ids) > k for rollout in rollouts]
    if k == 0:
        # The teacher alone: its own responses.
        return Continued(material.graded("teacher"), going)
    began = time.perf_counter()
    begun = _begun(material, rollouts, k)
    answers = _answers(material, [each for each in begun if each is not None])
    texts: dict[str, list[Response]] = {q.id: [] for q in material.plan.benchmark.questions}
    own = material.plan.tokenizer_of("before")
    for rollout, each in zip(rollouts, begun, strict=True):
        response = next(answers) if each else response_of(rollout, own)
        texts[rollout.prompt.id].append(response)
    told = f"the teacher went on from k={k} in {sum(going)} of {len(going)} responses"
    material.say(f"{told}: {time.perf_counter() - began:.1f} s")
    return Continued(material.grade(texts), going)


@dataclass(frozen=True)
class _Begun:
    """A prompt that ends in a response begun, `ids` of it, with room for `limit` tokens more."""

    prompt: Prompt
    ids: tuple[int, ...]
    limit: int


def _begun(material: Material, rollouts: list[Rollout], k: int) -> list[_Begun | None]:
    plan = material.plan
    exam, reader = plan.exams["teacher"], plan.pairing.reader
    prompt_of = {prompt.id: prompt for prompt in exam.prompts}
    # What follows the prefix does not matter to how it is read, but its end does.
    end = plan.pairing.stop_ids[0]
    found: list[_Begun | None] = []
    for rollout in rollouts:
        if len(rollout.response_ids) <= k:
            found.append(None)
            continue
        ids = reader.read((*rollout.response_ids[:k], end)).ids
        prompt = prompt_of[rollout.prompt.id]
        room = plan.config.pair.context_tokens - len(prompt.student_ids) - len(ids)
        limit = min(max(1, exam.sampling.max_tokens - len(ids)), room)
        name = f"{prompt.id}/{rollout.sample}/{k}"
        found.append(_Begun(prefixed(prompt, ids, name), ids, limit) if limit > 0 else None)
    return found


def _answers(material: Material, begun: Sequence[_Begun]) -> Any:
    """The joined texts, prefix and what the teacher made of it, as one response each."""
    if not begun:
        return iter(())
    exam = material.plan.exams["teacher"]
    # Every prefix is a prompt of its own, asked once.
    sampling = replace(exam.sampling, samples=1).at(0, [each.limit for each in begun])
    rollouts = material.engine("teacher").generate([each.prompt for each in begun], sampling)
    joined = (
        Rollout(r.prompt, r.sample, each.ids + r.response_ids, (), r.finish)
        for each, r in zip(begun, rollouts, strict=True)
    )
    return (response_of(rollout, exam.tokenizer) for rollout in joined)
