"""Ranks that share a student: the same numbers as one process, their checkpoints, their deaths."""

from __future__ import annotations

import json
import os
import resource
import signal
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from ranked import Case, CaseRank, student_of
from safetensors.torch import load_file, save_file
from test_student import ROLLOUTS

from esr_cli.base import files
from esr_cli.base.files import CheckpointError
from esr_cli.config import ConfigError, TuneConfig
from esr_cli.distill.positions import Rule
from esr_cli.execution.team import TeamError
from esr_cli.execution.worker import place
from esr_cli.models import loading, outlines
from esr_cli.student import checkpoint, snapshot, tuning
from esr_cli.student.checkpoint import TENSORS
from esr_cli.student.shards import Stored
from esr_cli.student.student import WeightsError
from esr_cli.student.trainers import Trainers
from esr_cli.types import HiddenScores

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
        team.join(teacher.head())
    yield made
    for team in made.values():
        team.close()


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
    alone, team = student_of(case, teacher.head()), told(teams[size], case)
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
        alone, team = student_of(case, teacher.head()), told(teams[3], case)
        same_updates(took(team, rollouts, scores), took(alone, rollouts, scores))
        same_student(team, alone)


def test_positions_that_are_not_aligned_and_skipped_steps_are_those_of_one_process(
    teams, tiny_pair, teacher
):
    case, scores = Case(str(tiny_pair / "student"), FULL | SMALL), teacher.score(ROLLOUTS)
    rows = len(scores.hidden_RD)
    part, none = torch.arange(rows) % 3 > 0, torch.zeros(rows, dtype=torch.bool)
    alone, team = student_of(case, teacher.head()), told(teams[2], case)
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
        alone, team = student_of(case, teacher.head()), told(teams[3], case)
        same_updates(took(team, rollouts, scores), took(alone, rollouts, scores))
        same_student(team, alone)


@pytest.mark.parametrize("tune", [FULL, FULL | {"master": "none"}, LORA], ids=str)
def test_sixteen_bits_are_close_and_their_shards_are_of_the_same_types(
    tune, teams, tiny_pair, teacher
):
    case = Case(str(tiny_pair / "student"), tune, dtype="bfloat16")
    scores = teacher.score(ROLLOUTS)
    scores = replace(scores, hidden_RD=scores.hidden_RD.bfloat16())
    head = teacher.head()
    alone, team = student_of(case, head), told(teams[2], case)
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
    unbroken = student_of(case, teacher.head())
    took(unbroken, ROLLOUTS, scores, 6)
    two = told(teams[2], case)
    took(two, ROLLOUTS, scores, 2)
    first = snapshot.save(tmp_path, 2, two, keep=9)
    three = told(teams[3], case)
    snapshot.restore(first, three)
    same(three.tensors(), load_file(first / TENSORS), 0.0, 0.0)
    for step in (2, 3):
        three.update(ROLLOUTS, scores, step)
    alone = student_of(case, teacher.head())
    snapshot.restore(snapshot.save(tmp_path, 4, three, keep=9), alone)
    for step in (4, 5):
        alone.update(ROLLOUTS, scores, step)
    same_student(alone, unbroken)


def test_a_death_ends_the_team_and_weights_that_are_not_finite_are_named(
    tiny_pair, teacher, tmp_path
):
    team, scores = team_of(2, Case(str(tiny_pair / "student"), FULL)), teacher.score(ROLLOUTS)
    try:
        team.join(teacher.head())
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


def in_shards(team, case):
    """The team, with the student of the case, whose checkpoints are in parts."""
    told(team, case).in_shards = True
    return team


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def stored(folder):
    """All tensors of a checkpoint."""
    checkpoint.read_state(folder)
    saved = Stored(folder)
    tensors = {name: torch.empty_like(each, device="cpu") for name, each in saved.outline.items()}
    saved.fill(tensors)
    return tensors


TUNED = {
    "full": (FULL, "float32"),
    # Of the four rows of a factor, three ranks hold two, two and none.
    "lora": (LORA, "float32"),
    "masters": (FULL, "bfloat16"),
    "sixteen bits": (FULL | {"master": "none"}, "bfloat16"),
    "lora in sixteen bits": (LORA, "bfloat16"),
}


@pytest.mark.parametrize("name", TUNED)
def test_shards_go_from_two_ranks_to_three_and_to_one(name, teams, tiny_pair, teacher, tmp_path):
    tune, dtype = TUNED[name]
    case, scores = Case(str(tiny_pair / "student"), tune, dtype=dtype), teacher.score(ROLLOUTS)
    scores = replace(scores, hidden_RD=scores.hidden_RD.to(getattr(torch, dtype)))
    two, three = in_shards(teams[2], case), in_shards(teams[3], case)
    took(two, ROLLOUTS, scores, 2)
    first = snapshot.save(tmp_path, 2, two, keep=9)
    assert sorted(path.name for path in first.iterdir()) == [
        "shard-00001-model-00001-of-00001.safetensors",
        "shard-00002-model-00001-of-00001.safetensors",
        "state.json",
    ]
    equal(stored(first), two.tensors())
    snapshot.restore(first, three)
    equal(three.tensors(), two.tensors())
    took(three, ROLLOUTS, scores, 1)
    second = snapshot.save(tmp_path, 3, three, keep=9)
    alone = student_of(case, teacher.head())
    snapshot.restore(second, alone)
    equal(alone.tensors(), three.tensors())
    # And back: from the one file of one process, and as sent to ranks that do not see a file.
    snapshot.restore(snapshot.save(tmp_path, 4, alone, keep=9), two)
    equal(two.tensors(), alone.tensors())
    told(three, case).all("load_tensors", second, alone.tensors())
    equal(three.tensors(), alone.tensors())
    read = loading.load_model(case.path, "float32", "cpu")
    merged = snapshot.merged(second, tuning.make(read, alone.config))
    trained = alone.tuning.merged()
    assert merged.keys() == trained.keys()
    # A 16-bit adapter is merged into other weights in fp32.
    if dtype == "float32" or "lora" not in name:
        equal({n: each.to(trained[n].dtype) for n, each in merged.items()}, trained)


def test_a_run_in_shards_ends_as_one_in_one_process(teams, tiny_pair, teacher, tmp_path):
    case, scores = Case(str(tiny_pair / "student"), LORA), teacher.score(ROLLOUTS)
    unbroken, resumed = (student_of(case, teacher.head()) for _ in range(2))
    took(unbroken, ROLLOUTS, scores, 4)
    three = in_shards(teams[3], case)
    took(three, ROLLOUTS, scores, 2)
    snapshot.restore(snapshot.save(tmp_path, 2, three, keep=9), resumed)
    for step in (2, 3):
        resumed.update(ROLLOUTS, scores, step)
    same_student(resumed, unbroken)


def test_a_rank_writes_several_files_so_that_it_holds_one_at_a_time(
    teams, tiny_pair, teacher, tmp_path
):
    two = in_shards(teams[2], Case(str(tiny_pair / "student"), FULL))
    took(two, ROLLOUTS, teacher.score(ROLLOUTS), 1)
    sums = {n: each for found in two.every("write_small", tmp_path) for n, each in found.items()}
    assert len(sums) > 6 and sums.keys() == {path.name for path in tmp_path.iterdir()}
    # A file ends with the tensor that reaches the limit.
    largest = max(each.nbytes for each in two.tensors().values())
    assert all(path.stat().st_size < 70_000 + largest for path in tmp_path.iterdir())
    (tmp_path / "step-000001").mkdir()
    for name in sums:
        (tmp_path / name).rename(tmp_path / "step-000001" / name)
    (tmp_path / "step-000001" / "state.json").write_text(json.dumps({"crc32": sums}))
    equal(stored(tmp_path / "step-000001"), two.tensors())


def flip(folder):
    path = max(folder.glob("shard-00002-*"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def lose(folder):
    min(folder.glob("shard-00001-*")).unlink()


def add(folder):
    save_file({"weight/more": torch.ones(1)}, folder / "shard-00003.safetensors")


def forget(folder):
    state = json.loads((folder / "state.json").read_text())
    state["crc32"].popitem()
    (folder / "state.json").write_text(json.dumps(state))


def spoil(folder):
    state = json.loads((folder / "state.json").read_text())
    state["crc32"] |= dict.fromkeys(state["crc32"], "x")
    (folder / "state.json").write_text(json.dumps(state))


@pytest.fixture(scope="module")
def two_saved(teams, tiny_pair, tmp_path_factory):
    """A run folder with two checkpoints in shards."""
    folder = tmp_path_factory.mktemp("shards")
    two = in_shards(teams[2], Case(str(tiny_pair / "student"), LORA))
    for step in (1, 2):
        snapshot.save(folder, step, two, keep=2)
    return folder


@pytest.mark.parametrize("damage", [flip, lose, add, forget, spoil])
def test_damaged_shards_give_way_to_the_checkpoint_before_them(damage, two_saved, tmp_path):
    for each in files.checkpoints(two_saved):
        (tmp_path / "checkpoints" / each.name).mkdir(parents=True)
        for path in each.iterdir():
            (tmp_path / "checkpoints" / each.name / path.name).write_bytes(path.read_bytes())
    damage(tmp_path / "checkpoints" / "step-000002")
    last, state, [line] = snapshot.last_whole(tmp_path)
    assert last.name == "step-000001" and state["step"] == 1
    assert "step-000002 is damaged (" in line and "\n" not in line


def test_shards_that_say_the_wrong_of_themselves_are_refused(two_saved, tiny_pair, teacher):
    """A stranger's files may have right checksums."""
    alone = student_of(Case(str(tiny_pair / "student"), LORA), teacher.head())
    folder = two_saved / "checkpoints" / "step-000002"
    path = min(folder.glob("shard-00001-*"))
    whole = load_file(path)
    for info in ('{"x": 1}', "[]", "{"):
        save_file(whole, path, metadata={"DCP_SHARDING_INFO": info})
        with pytest.raises(CheckpointError, match="step-000002 cannot be read"):
            snapshot.restore(folder, alone)
    shifted = {name: {"saved_offsets": [10**9] * each.ndim} for name, each in whole.items()}
    save_file(whole, path, metadata={"DCP_SHARDING_INFO": json.dumps(shifted)})
    with pytest.raises(CheckpointError, match=r"parts of .* are missing"):
        snapshot.restore(folder, alone)


@contextmanager
def small_files(pid):
    """No file of the process may have more than 2 kB."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def test_one_ranks_full_disk_and_one_ranks_nan_leave_the_previous_checkpoint(
    teams, tiny_pair, teacher, tmp_path
):
    two = in_shards(teams[2], Case(str(tiny_pair / "student"), FULL))
    took(two, ROLLOUTS, teacher.score(ROLLOUTS), 1)
    first = snapshot.save(tmp_path, 1, two, keep=1)
    with small_files(two.members[1].pid), pytest.raises(CheckpointError) as full:
        snapshot.save(tmp_path, 2, two, keep=1)
    assert "step-000002 could not be saved ([Errno 27] File too large" in str(full.value)
    assert str(full.value).endswith("; step-000001 is intact") and "\n" not in str(full.value)
    bad = two.tensors()
    bad["weight/model.norm.weight"][-1] = torch.nan
    (tmp_path / "bad").mkdir()
    save_file(bad, tmp_path / "bad" / TENSORS)
    two.restore(tmp_path / "bad")
    with pytest.raises(CheckpointError, match=r"weight/model.norm.weight is not finite\); step-0"):
        snapshot.save(tmp_path, 2, two, keep=1)
    assert list((tmp_path / "checkpoints").iterdir()) == [first]
    snapshot.restore(first, two)
    equal(two.tensors(), stored(first))


def test_ranks_that_do_not_see_the_run_folder_are_named(teams, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teams[2].need_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []
    # For the ranks, which are other processes with another working directory, this is another
    # folder, as on another machine.
    with pytest.raises(ConfigError, match=r"run_dir=/proc/self/cwd: a trainer on .* share, or"):
        teams[2].need_folder(Path("/proc/self/cwd"))
    assert list(tmp_path.iterdir()) == []
