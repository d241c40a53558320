"""Ranks that share a student: the same numbers as one process, and what a death leaves."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from functools import partial

import pytest
import torch
from ranked import Case, CaseRank, student_of
from safetensors.torch import load_file, save_file
from test_student import ROLLOUTS

from esr_cli.config import TuneConfig
from esr_cli.distill.positions import Rule
from esr_cli.execution.team import TeamError
from esr_cli.execution.worker import place
from esr_cli.models import outlines
from esr_cli.student import snapshot
from esr_cli.student.checkpoint import TENSORS
from esr_cli.student.student import WeightsError
from esr_cli.student.trainers import Trainers
from esr_cli.types import HiddenScores, ScoresByTeacher

FULL, LORA = {"method": "full"}, {"method": "lora"}
# Micro-batches of one or two responses: five passes of one process, unequal on two ranks.
SMALL = {"micro_batch_tokens": 30}
BEFORE = (5, 6, 7)


@pytest.fixture(scope="module")
def teams(tiny_pair, teacher):
    """Ranks of two and of three."""
    case = Case(str(tiny_pair / "student"), FULL)
    made = {size: team_of(size, case) for size in (2, 3)}
    for team in made.values():
        team.join(heads_of(teacher))
    yield made
    for team in made.values():
        team.close()


def heads_of(teacher):
    """The same head for three teachers by name, each of which may score some of the responses."""
    return dict.fromkeys(("", "math", "code"), teacher.head())


def team_of(size, case):
    workers = [
        place("process", f"trainer {rank}", CaseRank, {"case": case}) for rank in range(size)
    ]
    for worker in workers:
        worker.start()
    tune = TuneConfig(**case.tune)
    return Trainers(workers, partial(outlines.skeleton, case), tune, case.steps, torch.float32)


def told(team, case):
    """The team, with the student of the case."""
    team.all("remake", case)
    team._handed = {}
    return team


def took(student, rollouts, scores, steps=3):
    """The updates of some steps."""
    return [student.update(rollouts, scores, step) for step in range(steps)]


def same(found, expected, limit=1e-6, most=2e-5):
    """Asserts that values agree to `limit`, but for one in a thousand, which agrees to `most`.

    AdamW divides a gradient by its own size: the rounding of one that is almost zero becomes a
    visible part of the learning rate (1e-4). Its moments show that the gradients are the same.
    """
    assert found.keys() == expected.keys()
    far = torch.cat([(found[n].float() - expected[n].float()).abs().flatten() for n in expected])
    assert float((far > limit).float().mean()) < 1e-3 and float(far.max()) <= most, far.max()


def same_student(found, expected):
    same(found.weights(), expected.weights())
    ours, theirs = found.tensors(), expected.tensors()
    same(ours, theirs)
    moments = [name for name in theirs if name.endswith("/exp_avg")]
    assert moments
    same({n: ours[n] for n in moments}, {n: theirs[n] for n in moments}, 1e-6, 1e-6)


def same_updates(found, expected, limit=1e-6):
    for one, other in zip(found, expected, strict=True):
        assert one.skipped == other.skipped
        for name, value in other.metrics.items():
            near = pytest.approx(value, rel=limit, abs=limit, nan_ok=True)
            assert one.metrics[name] == near, name
        assert one.gaps.keys() == other.gaps.keys()
        for ours, theirs in zip(one.kl_by_rollout, other.kl_by_rollout, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6, nan_ok=True)


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
        saved = team.tensors()
        saved["weight/model.norm.weight"][-1] = torch.inf
        save_file(saved, tmp_path / TENSORS)
        team.restore(tmp_path)
        with pytest.raises(WeightsError, match="not finite before"):
            team.check_weights("before")
        os.kill(team.members[1].pid, signal.SIGKILL)
        with pytest.raises(TeamError, match=r"trainer 1's process died \(exit status -9\)"):
            team.update(ROLLOUTS, scores, 1)
        assert [worker.pid for worker in team.members] == [None, None]
    finally:
        team.close()
