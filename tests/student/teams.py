"""Ranks for the tests of trainers and of their checkpoints, and what two students must agree in."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from ranked import Case, CaseRank

from esr_cli.config import TuneConfig
from esr_cli.execution.worker import place
from esr_cli.models import outlines
from esr_cli.student.trainers import Trainers

FULL, LORA = {"method": "full"}, {"method": "lora"}
# The ranks of both files of tests, which take seconds to start.
TEAMS: dict[int, Trainers] = {}


def made(config, tiny_pair, teacher):
    """Ranks of two and of three; pytest's `config` ends them, if nothing else has."""
    if not TEAMS:
        case = Case(str(tiny_pair / "student"), FULL)
        TEAMS.update({size: team_of(size, case) for size in (2, 3)})
        for team in TEAMS.values():
            team.join(heads_of(teacher))
        config.add_cleanup(end_teams)
    return TEAMS


def end_teams():
    """Ends the ranks that `made` started."""
    while TEAMS:
        TEAMS.popitem()[1].close()


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
    team._handed, team.in_shards = {}, False
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
        # What a teacher has read is its own figure, not one of the update.
        read = "teacher/prompt_tokens_read"
        for name, value in ((n, v) for n, v in other.metrics.items() if n != read):
            near = pytest.approx(value, rel=limit, abs=limit, nan_ok=True)
            assert one.metrics[name] == near, name
        assert one.gaps.keys() == other.gaps.keys()
        for ours, theirs in zip(one.kl_by_rollout, other.kl_by_rollout, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6, nan_ok=True)
