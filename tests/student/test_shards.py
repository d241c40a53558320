"""Checkpoints in shards: what ranks write, any number of ranks reads, and damage is noticed."""

from __future__ import annotations

import json
import resource
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranked import Case, student_of
from safetensors.torch import load_file, save_file
from teams import FULL, LORA, heads_of, made, same_student, told, took
from test_student import ROLLOUTS

from esr_cli.base import files
from esr_cli.base.files import CheckpointError
from esr_cli.config import ConfigError
from esr_cli.models import loading
from esr_cli.student import checkpoint, snapshot, tuning
from esr_cli.student.checkpoint import TENSORS
from esr_cli.student.shards import Stored


@pytest.fixture(scope="module")
def teams(pytestconfig, tiny_pair, teacher):
    return made(pytestconfig, tiny_pair, teacher)


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
    alone = student_of(case, heads_of(teacher))
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
    unbroken, resumed = (student_of(case, heads_of(teacher)) for _ in range(2))
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
    alone = student_of(Case(str(tiny_pair / "student"), LORA), heads_of(teacher))
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
