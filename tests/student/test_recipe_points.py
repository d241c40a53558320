"""Points of a recipe in the student's step: texts before responses, ends that are not trained."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from test_student import ROLLOUTS, gradients, load, student

from esr_cli.student.measures import NOTHING_COUNTS
from esr_cli.train.steps import without_end
from esr_cli.types import Rollout

BEFORE = (7, 11, 5)
EXACT = {"clip_norm": 1e9, "beta1": 0.9}


def with_prompt(rollout: Rollout, **changes) -> Rollout:
    return replace(rollout, prompt=replace(rollout.prompt, **changes))


def test_a_text_before_the_response_is_trained_on_as_if_it_were_prompt(tiny_pair, teacher):
    before = [with_prompt(r, before_ids=BEFORE) for r in ROLLOUTS]
    longer = [with_prompt(r, student_ids=r.prompt.student_ids + BEFORE) for r in ROLLOUTS]
    found, expected, plain = (
        gradients(student(tiny_pair, teacher, **EXACT), each, teacher)
        for each in (before, longer, ROLLOUTS)
    )
    for name, gradient in found.items():
        assert torch.equal(gradient, expected[name]), name
    assert not torch.equal(found["model.norm.weight"], plain["model.norm.weight"])


def test_the_gauge_compares_in_the_context_of_sampling(tiny_pair, teacher):
    """The engine's log-probabilities are those without the text before the response."""
    model, sampled = load(tiny_pair), []
    for r in ROLLOUTS:
        with torch.no_grad():
            logits = model(torch.tensor([r.prompt.student_ids + r.response_ids])).logits[0]
        # Training rollouts never sample the head's padding rows.
        logs = (logits[:, :108] / 0.7).log_softmax(-1)[len(r.prompt.student_ids) - 1 : -1]
        chosen = logs.gather(-1, torch.tensor(r.response_ids)[:, None])[:, 0]
        sampled.append(replace(r, logprobs=tuple(chosen.tolist())))
    for before in ((), BEFORE):
        rollouts = [with_prompt(r, before_ids=before) for r in sampled]
        made = student(tiny_pair, teacher, micro_batch_tokens=40)
        found = made.update(rollouts, teacher.score(rollouts), 0).metrics
        assert found["rollout/logprob_gap_max"] < 1e-4, before


def test_ends_are_cut_and_nothing_else():
    end, other = 2, 9
    cut = {
        (5, 6, end): (5, 6), (5, end, end): (5,), (end,): (), (5, end, 6): (5, end, 6),
        (5, 6): (5, 6), (5, other): (5,), (): (),
    }  # fmt: skip
    for ids, left in cut.items():
        logprobs = tuple(-float(i) for i in range(len(ids)))
        found = without_end(Rollout(ROLLOUTS[0].prompt, 0, ids, logprobs, "stop"), (end, other))
        assert found.response_ids == left and found.logprobs == logprobs[: len(left)], ids
        assert found.finish == "stop"


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean"])
def test_an_emptied_response_changes_nothing(reduction, tiny_pair, teacher):
    """A response of which only its end was there counts for nothing, in any micro-batch."""
    emptied = without_end(replace(ROLLOUTS[1], response_ids=(2,), logprobs=(-1.0,)), (2,))
    others = [ROLLOUTS[0], ROLLOUTS[2]]
    for tokens in (1, 10**6):
        settings = {"reduction": reduction, "micro_batch_tokens": tokens, **EXACT}
        found = gradients(
            student(tiny_pair, teacher, **settings), [others[0], emptied, others[1]], teacher
        )
        expected = gradients(student(tiny_pair, teacher, **settings), others, teacher)
        for name, gradient in found.items():
            assert torch.allclose(gradient, expected[name], rtol=1e-4, atol=1e-9), name


def test_a_step_of_emptied_responses_is_skipped(tiny_pair, teacher):
    emptied = [without_end(replace(ROLLOUTS[1], response_ids=(2,), logprobs=(-1.0,)), (2,))]
    update = student(tiny_pair, teacher).update(emptied, teacher.score(emptied), 0)
    assert update.skipped == NOTHING_COUNTS and not update.suspect
    assert math.isnan(update.metrics["train/loss"]) and update.kl_by_rollout == [[]]
