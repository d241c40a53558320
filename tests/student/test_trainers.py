"""Ranks that share a student: the same numbers as one process, and what a death leaves."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
import torch
from ranked import Case, student_of
from safetensors.torch import load_file, save_file
from teams import (
    FULL,
    LORA,
    end_teams,
    heads_of,
    made,
    same,
    same_student,
    same_updates,
    team_of,
    told,
    took,
)
from test_student import ROLLOUTS

from esr_cli.base.files import CheckpointError
from esr_cli.distill.positions import Rule
from esr_cli.execution.team import TeamError
from esr_cli.student import snapshot
from esr_cli.student.checkpoint import TENSORS
from esr_cli.student.student import WeightsError
from esr_cli.types import HiddenScores, ScoresByTeacher

# Micro-batches of one or two responses: five passes of one process, unequal on two ranks.
SMALL = {"micro_batch_tokens": 30}
BEFORE = (5, 6, 7)


@pytest.fixture(scope="module")
def teams(pytestconfig, tiny_pair, teacher):
    yield made(pytestconfig, tiny_pair, teacher)
    end_teams()


CASES = {
    "full": (FULL, {}),
    "full in small micro-batches": (FULL | SMALL, {}),
    "lora": (LORA, {}),
    "lora in small micro-batches": (LORA | SMALL, {}),
    "clipped": (FULL | {"clip_norm": 1e-3}, {}),
    "lora clipped": (LORA | {"clip_norm": 1e-3} | SMALL, {}),
    "checkpointed": (FULL | SMALL | {"gradient_checkpointing": True}, {}),
    "lora checkpointed": (LORA | {"gradient_checkpointing": True}, {}),
    "selected": (FULL | SMALL, {"rule": Rule("top", 3, ("reverse_kl", "forward_kl"))}),
    "random": (LORA | SMALL, {"rule": Rule("random", 3, shape="cumulative_kl")}),
    "one layer's adapters": (LORA | {"targets": ["q_proj", "down_proj"]}, {}),
}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_ranks_take_the_steps_of_one_process(name, size, teams, tiny_pair, teacher):
    tune, more = CASES[name]
    case = Case(str(tiny_pair / "student"), tune, **more)
    scores = teacher.score(ROLLOUTS)
    alone, team = student_of(case, heads_of(teacher)), told(teams[size], case)
    same_updates(took(team, ROLLOUTS, scores), took(alone, ROLLOUTS, scores))
    same_student(team, alone)
    # The weights as handed over follow further steps in the same memory.
    before = team.weights()
    took(team, ROLLOUTS, scores, 1), took(alone, ROLLOUTS, scores, 1)
    after = team.weights()
    same(after, alone.weights())
    assert all(after[name] is before[name] for name in after)


def test_a_rank_without_rollouts_passes_as_often_as_the_others(teams, tiny_pair, teacher):
    case = Case(str(tiny_pair / "student"), FULL)
    for rollouts in (ROLLOUTS[:1], ROLLOUTS[:2], [*ROLLOUTS, *ROLLOUTS[:3]]):
        scores = teacher.score(rollouts)
        alone, team = student_of(case, heads_of(teacher)), told(teams[3], case)
        same_updates(took(team, rollouts, scores), took(alone, rollouts, scores))
        same_student(team, alone)


@pytest.mark.parametrize("tune", [FULL, LORA | {"gradient_checkpointing": True}], ids=str)
def test_ranks_divide_the_responses_to_one_prompt(tune, teams, tiny_pair, teacher):
    rollouts = [replace(r, prompt=ROLLOUTS[2].prompt, sample=n) for n, r in enumerate(ROLLOUTS * 2)]
    scores, case = teacher.score(rollouts), Case(str(tiny_pair / "student"), tune)
    alone = student_of(case, heads_of(teacher))
    assert list(map(len, alone.reader.rows(rollouts, 10**6, most=4))) == [4, 4]
    found = took(alone, rollouts, scores)
    for size in (2, 3):
        team = told(teams[size], case)
        same_updates(took(team, rollouts, scores), found)
        same_student(team, alone)


def test_positions_that_are_not_aligned_and_skipped_steps_are_those_of_one_process(
    teams, tiny_pair, teacher
):
    case, scores = Case(str(tiny_pair / "student"), FULL | SMALL), teacher.score(ROLLOUTS)
    rows = len(scores.hidden_RD)
    part, none = torch.arange(rows) % 3 > 0, torch.zeros(rows, dtype=torch.bool)
    alone, team = student_of(case, heads_of(teacher)), told(teams[2], case)
    broken = scores.hidden_RD.clone()
    broken[-1] = torch.nan
    for given in (part, none, None):
        found = HiddenScores(broken if given is None else scores.hidden_RD, given)
        one, other = team.update(ROLLOUTS, found, 0), alone.update(ROLLOUTS, found, 0)
        assert bool(one.skipped) == (given is not part)
        same_updates([one], [other])
    same_student(team, alone)


def test_prompts_that_train_differently_from_how_they_were_sampled(teams, tiny_pair, teacher):
    """Some micro-batches alone have such a prompt, and every rank must pass once more for it."""
    rollouts = [replace(r, prompt=replace(r.prompt, before_ids=BEFORE)) for r in ROLLOUTS[:1]]
    rollouts += ROLLOUTS[1:]
    scores = teacher.score(rollouts)
    for tune in (FULL | SMALL, LORA):
        case = Case(str(tiny_pair / "student"), tune)
        alone, team = student_of(case, heads_of(teacher)), told(teams[3], case)
        same_updates(took(team, rollouts, scores), took(alone, rollouts, scores))
        same_student(team, alone)


def test_each_response_is_compared_with_its_own_teacher(teams, tiny_pair, teacher):
    """Teachers of different states: each sees its own responses alone, in their own order."""
    names = ("math", "", "math", "code")
    rollouts = [
        replace(r, prompt=replace(r.prompt, teacher=name))
        for r, name in zip(ROLLOUTS, names, strict=True)
    ]
    parts = {name: teacher.score([r for r in rollouts if r.prompt.teacher == name])
             for name in names}  # fmt: skip
    case = Case(str(tiny_pair / "student"), FULL)
    alone, one = (student_of(case, heads_of(teacher)) for _ in range(2))
    # The same model under three names is one teacher.
    same_updates(
        took(alone, rollouts, ScoresByTeacher(parts)), took(one, ROLLOUTS, teacher.score(ROLLOUTS))
    )
    same_student(alone, one)
    parts["math"] = replace(parts["math"], hidden_RD=parts["math"].hidden_RD.flip(-1))
    for tune in (FULL | SMALL, LORA):
        case = Case(str(tiny_pair / "student"), tune)
        alone, team = student_of(case, heads_of(teacher)), told(teams[3], case)
        found = took(alone, rollouts, ScoresByTeacher(parts))
        same_updates(took(team, rollouts, ScoresByTeacher(parts)), found)
        same_student(team, alone)
    kl = found[0].metrics
    by_name = {name: kl[f"train/reverse_kl/{name or 'others'}"] for name in names}
    tokens = {"math": 19, "": 1, "code": 4}
    mean = sum(by_name[name] * count for name, count in tokens.items()) / 24
    assert mean == pytest.approx(kl["train/reverse_kl"], rel=1e-5)
    assert by_name["math"] > by_name["code"]


@pytest.mark.parametrize("tune", [FULL, FULL | {"master": "none"}, LORA], ids=str)
def test_sixteen_bits_are_close_and_their_shards_are_of_the_same_types(
    tune, teams, tiny_pair, teacher
):
    case = Case(str(tiny_pair / "student"), tune, dtype="bfloat16")
    scores = teacher.score(ROLLOUTS)
    scores = replace(scores, hidden_RD=scores.hidden_RD.bfloat16())
    alone, team = student_of(case, heads_of(teacher)), told(teams[2], case)
    [ours], [theirs] = took(team, ROLLOUTS, scores, 1), took(alone, ROLLOUTS, scores, 1)
    # An average in place of a sum would be half of it.
    for key in ("train/loss", "train/grad_norm"):
        assert ours.metrics[key] == pytest.approx(theirs.metrics[key], rel=0.02), key
    for found, expected in (
        (team.tensors(), alone.tensors()), (team.weights(), alone.weights()),
    ):  # fmt: skip
        assert {n: t.dtype for n, t in found.items()} == {n: t.dtype for n, t in expected.items()}


@pytest.mark.parametrize("tune", [FULL, LORA], ids=["full", "lora"])
def test_state_goes_from_two_ranks_to_three_and_to_one(tune, teams, tiny_pair, teacher, tmp_path):
    case, scores = Case(str(tiny_pair / "student"), tune), teacher.score(ROLLOUTS)
    unbroken = student_of(case, heads_of(teacher))
    took(unbroken, ROLLOUTS, scores, 6)
    two = told(teams[2], case)
    took(two, ROLLOUTS, scores, 2)
    first = snapshot.save(tmp_path, 2, two, keep=9)
    three = told(teams[3], case)
    snapshot.restore(first, three)
    same(three.tensors(), load_file(first / TENSORS), 0.0, 0.0)
    for step in (2, 3):
        three.update(ROLLOUTS, scores, step)
    alone = student_of(case, heads_of(teacher))
    snapshot.restore(snapshot.save(tmp_path, 4, three, keep=9), alone)
    for step in (4, 5):
        alone.update(ROLLOUTS, scores, step)
    same_student(alone, unbroken)


def test_a_death_ends_the_team_and_weights_that_are_not_finite_are_named(
    tiny_pair, teacher, tmp_path
):
    team, scores = team_of(2, Case(str(tiny_pair / "student"), FULL)), teacher.score(ROLLOUTS)
    try:
        team.join(heads_of(teacher))
        team.in_shards = True
        team.update(ROLLOUTS, scores, 0)
        first = snapshot.save(tmp_path, 1, team, keep=1)
        saved = team.tensors()
        saved["weight/model.norm.weight"][-1] = torch.inf
        (tmp_path / "bad").mkdir()
        save_file(saved, tmp_path / "bad" / TENSORS)
        team.restore(tmp_path / "bad")
        with pytest.raises(WeightsError, match="not finite before"):
            team.check_weights("before")
        os.kill(team.members[1].pid, signal.SIGKILL)
        with pytest.raises(CheckpointError, match="step-000001 is intact") as failed:
            snapshot.save(tmp_path, 2, team, keep=1)
        # The cause tells a run that it may resume by itself.
        death = failed.value.__cause__.__cause__
        assert isinstance(death, TeamError)
        assert "trainer 1's process died (exit status -9)" in str(death)
        assert list((tmp_path / "checkpoints").iterdir()) == [first]
        assert [worker.pid for worker in team.members] == [None, None]
    finally:
        team.close()
