"""Checkpoints: atomic writes, the last k kept, damage noticed, and bitwise resumption."""

from __future__ import annotations

import json
import math

import pytest
import torch

from esr_cli.base import files
from esr_cli.base.files import CheckpointError
from esr_cli.student import checkpoint, snapshot


def test_a_full_disk_leaves_the_previous_checkpoint_intact(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, checkpoint.whole({"a": torch.ones(2)}), {"step": 1}, keep=2)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(files.CheckpointError, match=r"No space left.*step-000001 is intact"):
        checkpoint.save(tmp_path, 2, checkpoint.whole({"a": torch.zeros(2)}), {"step": 2}, keep=2)
    last = files.latest(tmp_path)
    tensors, state = checkpoint.read_tensors(last), checkpoint.read_state(last)
    assert state["step"] == 1 and torch.equal(tensors["a"], torch.ones(2))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]


def test_the_last_k_are_kept(tmp_path):
    for step in range(1, 6):
        checkpoint.save(tmp_path, step, checkpoint.whole({"a": torch.ones(1)}), {}, keep=2)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-000004", "step-000005"]


def test_other_entries_among_the_checkpoints_do_not_count(tmp_path):
    folder = tmp_path / "checkpoints"
    for name in ("step-999999", "step-1000000", "step-abc", "step-5.tmp", "old"):
        (folder / name).mkdir(parents=True)
    (folder / "step-000007").write_text("a file")
    assert [path.name for path in files.checkpoints(tmp_path)] == ["step-999999", "step-1000000"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_not_saved(value, tmp_path):
    checkpoint.save(tmp_path, 1, checkpoint.whole({"a": torch.ones(2)}), {"step": 1}, keep=1)
    bad = {"weight/a": torch.ones(2), "optimizer/a/exp_avg": torch.tensor([1.0, value])}
    with pytest.raises(
        CheckpointError, match=r"optimizer/a/exp_avg is not finite\); step-000001 is"
    ):
        checkpoint.save(tmp_path, 2, checkpoint.whole(bad), {"step": 2}, keep=1)
    assert files.latest(tmp_path).name == "step-000001"


def flip_a_bit(folder):
    data = bytearray((folder / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "tensors.safetensors").write_bytes(data)


def cut_short(folder):
    data = (folder / "tensors.safetensors").read_bytes()
    (folder / "tensors.safetensors").write_bytes(data[:-2])


def remove_tensors(folder):
    (folder / "tensors.safetensors").unlink()


def remove_state(folder):
    (folder / "state.json").unlink()


def cut_state(folder):
    (folder / "state.json").write_text('{"step": 2, "crc')


def another_step(folder):
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"step": 1}))


def no_mapping(folder):
    (folder / "state.json").write_text("[2]")


def no_steps(folder):
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"total_steps": None}))


DAMAGE = (
    flip_a_bit, cut_short, remove_tensors, remove_state, cut_state, another_step, no_mapping,
    no_steps,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(damage, tmp_path):
    for step in (1, 2):
        checkpoint.save(
            tmp_path, step, checkpoint.whole({"a": torch.ones(2)}), {"step": step}, keep=2
        )
    damage(tmp_path / "checkpoints" / "step-000002")
    last, state, [line] = snapshot.last_whole(tmp_path)
    assert last.name == "step-000001" and state["step"] == 1
    assert "step-000002 is damaged (" in line and "\n" not in line
    # It no longer counts as one of the `keep` last.
    assert files.checkpoints(tmp_path) == [last]
    assert (tmp_path / "checkpoints" / "step-000002.damaged").is_dir()


def test_a_checkpoint_without_a_checksum_is_of_an_earlier_version(tmp_path):
    folder = checkpoint.save(tmp_path, 1, checkpoint.whole({"a": torch.ones(2)}), {}, keep=1)
    (folder / "state.json").write_text('{"step": 1}')
    assert torch.equal(checkpoint.read_tensors(folder)["a"], torch.ones(2))


WEIGHTS = {"a": torch.nn.Parameter(torch.zeros(2, 3))}


@pytest.mark.parametrize(
    ("saved", "fault"),
    [
        (
            {"a": torch.ones(1, 3)},
            r"weight a is torch.float32 \[1, 3\], not .*\[2, 3\]",
        ),
        ({"a": torch.ones(2, 3).half()}, "weight a is torch.float16"),
        ({}, "weight a is missing"),
        ({"a": torch.ones(2, 3), "b": torch.ones(1)}, "weight b is not in the model"),
    ],
)
def test_weights_of_another_model_are_refused_before_any_is_copied(saved, fault, tmp_path):
    class Tuned:
        def trainable(self):
            return WEIGHTS

    tensors = {f"weight/{name}": tensor for name, tensor in saved.items()}
    folder = checkpoint.save(tmp_path, 1, checkpoint.whole(tensors), {}, keep=1)
    with pytest.raises(CheckpointError, match=fault):
        snapshot.merged(folder, Tuned())
    assert not WEIGHTS["a"].any()


def test_an_optimizer_resumes_bitwise():
    def descend(parameters, optimizer, steps):
        for step in steps:
            loss = sum(((p - step) ** 2).sum() for p in parameters)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    def fresh():
        torch.manual_seed(0)
        parameters = [torch.nn.Parameter(torch.randn(3)), torch.nn.Parameter(torch.randn(2, 2))]
        return parameters, torch.optim.AdamW(parameters, lr=0.1)

    uninterrupted, optimizer = fresh()
    descend(uninterrupted, optimizer, range(10))
    interrupted, optimizer = fresh()
    descend(interrupted, optimizer, range(4))
    packed = checkpoint.pack_optimizer(optimizer, ["a", "b"])
    packed = {name: tensor.clone() for name, tensor in packed.items()}
    saved = [p.detach().clone() for p in interrupted]
    resumed, optimizer = fresh()
    with torch.no_grad():
        for parameter, value in zip(resumed, saved, strict=True):
            parameter.copy_(value)
    checkpoint.unpack_optimizer(optimizer, ["a", "b"], packed)
    descend(resumed, optimizer, range(4, 10))
    assert all(torch.equal(a, b) for a, b in zip(uninterrupted, resumed, strict=True))


def test_records_are_truncated_and_an_incomplete_last_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    files.truncate_jsonl(path, 2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize("states", [{}, {"random/cpu": torch.ones(3)},
                                    {"random/cpu": torch.ones(3, dtype=torch.uint8)}])  # fmt: skip
def test_a_random_state_that_is_none_is_refused(states):
    with pytest.raises(CheckpointError, match="the random state cannot be restored"):
        checkpoint.restore_random_state(states)
