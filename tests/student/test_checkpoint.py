"""Checkpoints: atomic writes, the last k kept, and bitwise resumption of an optimizer."""

from __future__ import annotations

import json

import pytest
import torch

from esr_cli.base import files
from esr_cli.student import checkpoint


def test_a_full_disk_leaves_the_previous_checkpoint_intact(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, {"a": torch.ones(2)}, {"step": 1}, keep=2)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(files.CheckpointError, match=r"No space left.*step-000001 is intact"):
        checkpoint.save(tmp_path, 2, {"a": torch.zeros(2)}, {"step": 2}, keep=2)
    last = files.latest(tmp_path)
    tensors, state = checkpoint.load(last)
    assert state == {"step": 1} and torch.equal(tensors["a"], torch.ones(2))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]


def test_the_last_k_are_kept(tmp_path):
    for step in range(1, 6):
        checkpoint.save(tmp_path, step, {"a": torch.ones(1)}, {}, keep=2)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-000004", "step-000005"]


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
