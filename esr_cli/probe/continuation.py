"""One model continues the responses of another, or its own: the samples of the decay probe."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from esr_cli.base.words import counted
from esr_cli.graders.figures import Graded, Response
from esr_cli.models.reading import SameText, SameTokens, reader
from esr_cli.models.vocabulary import align
from esr_cli.probe.material import LABELS, Material, prefixed
from esr_cli.probe.plan import Plan
from esr_cli.types import Prompt, Rollout


@dataclass(frozen=True)
class Continued:
    """Verdicts per question, and for each response whether it is longer than k tokens."""

    graded: list[Graded]
    going: list[bool]


def continued(material: Material, k: int, of: str = "before", by: str = "teacher") -> Continued:
    """Has `by` complete the first `k` tokens of each response of `of`, and grades the results.

    A response that has ended by then is graded as it is; so is one that leaves no room in the
    context.
    """
    rollouts = material.rollouts(of)
    going = [len(rollout.response_ids) > k for rollout in rollouts]
    if k == 0:
        # Without a prefix these are the model's own responses.
        return Continued(material.graded(by), going)
    began = time.perf_counter()
    prefixes = _prefixes(material, rollouts, k, of, by)
    completions = _completions(material, [each for each in prefixes if each is not None], by)
    texts: dict[str, list[Response]] = {q.id: [] for q in material.plan.benchmark.questions}
    for rollout, prefix in zip(rollouts, prefixes, strict=True):
        response = next(completions) if prefix else material.plan.exams[of].response_of(rollout)
        texts[rollout.prompt.id].append(response)
    count = counted(len(going), "response")
    message = f"{LABELS[by]} continued {sum(going)} of {count} by {LABELS[of]} from k={k}"
    material.say(f"{message}: {time.perf_counter() - began:.1f} s")
    return Continued(material.grade(texts), going)


@dataclass(frozen=True)
class _Prefix:
    """A prompt that ends with the response prefix `ids`; at most `limit` tokens may follow."""

    prompt: Prompt
    ids: tuple[int, ...]
    limit: int


def _prefixes(
    material: Material, rollouts: list[Rollout], k: int, of: str, by: str
) -> list[_Prefix | None]:
    plan = material.plan
    exam, reads = plan.exams[by], _reader(plan, of, by)
    prompt_of = {prompt.id: prompt for prompt in exam.prompts}
    # A reading excludes the last token, so an end-of-text token is appended.
    end = (plan.pairing.teacher_ends if of == "teacher" else plan.pairing.stop_ids)[0]
    prefixes: list[_Prefix | None] = []
    for rollout in rollouts:
        if len(rollout.response_ids) <= k:
            prefixes.append(None)
            continue
        ids = rollout.response_ids[:k]
        if reads is not None:
            ids = reads.read((*ids, end)).ids
        prompt = prompt_of[rollout.prompt.id]
        room = plan.config.pair.context_tokens - len(prompt.student_ids) - len(ids)
        limit = min(max(1, exam.sampling.max_tokens - len(ids)), room)
        name = f"{prompt.id}/{rollout.sample}/{k}"
        prefixes.append(_Prefix(prefixed(prompt, ids, name), ids, limit) if limit > 0 else None)
    return prefixes


def _reader(plan: Plan, of: str, by: str) -> SameTokens | SameText | None:
    """How `by` reads the tokens of `of`; None if they are its own."""
    if of == by:
        return None
    if by == "teacher":
        return plan.pairing.reader
    both = plan.tokenizers["teacher"], plan.tokenizers["student"]
    return reader(align(*both, plan.pairing.alignment.kind), *both)


def _completions(material: Material, prefixes: Sequence[_Prefix], by: str) -> Any:
    """Samples the completions; yields prefix and completion as one response each."""
    if not prefixes:
        return iter(())
    exam = material.plan.exams[by]
    # Every prefix is its own prompt, with one sample.
    sampling = replace(exam.sampling, samples=1).at(0, [each.limit for each in prefixes])
    rollouts = material.ask(by, [each.prompt for each in prefixes], sampling)
    joined = (
        Rollout(r.prompt, r.sample, each.ids + r.response_ids, (), r.finish)
        for each, r in zip(prefixes, rollouts, strict=True)
    )
    return (exam.response_of(rollout) for rollout in joined)
