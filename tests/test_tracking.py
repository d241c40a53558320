"""What a run tells: its files, its lines, and a mirror that may fall but never stops the run."""

from __future__ import annotations

import json
import math
import struct
import time

import pytest
from wandb.proto import wandb_internal_pb2

from esr_cli.tracking import Tracker

BLOCK, FULL, LAST = 32768, 1, 4
METRICS = {"train/loss": 0.5, "time/train_s": 0.25}
EVAL = {
    "step": 2, "benchmark": "lab", "metric": "avg@4", "value": 0.5, "low": 0.4, "high": 0.6, "n": 4,
}  # fmt: skip
RESPONSES = {
    "id": "a", "step": 2, "benchmark": "lab", "prompt": "why ?", "responses": ["so", "thus"],
    "correct": [True, False], "reason": ["right", "2, not 3"],
}  # fmt: skip


def tell(folder, mode):
    with Tracker(folder, {"seed": 7}, mode, "esr", "name", total_steps=2) as tracker:
        tracker.begin()
        tracker.log(1, METRICS)
        tracker.log(2, METRICS | {"train/reverse_kl": math.nan})
        tracker.log_eval([EVAL], [RESPONSES], 1.0)
        tracker.finish({"steps": 2})


def records(folder):
    """Everything in the one offline W&B run below `folder`: a log of blocks as LevelDB has it."""
    [path] = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, place, whole = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while place < len(data):
        if BLOCK - place % BLOCK < 7:  # no room for a header: the block's end is padding
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def settled(folder, seconds=60):
    """The records once W&B's own process has written the last of them."""
    until = time.monotonic() + seconds
    while True:
        found = list(records(folder))
        if any(r.WhichOneof("record_type") == "exit" for r in found) or time.monotonic() > until:
            return found
        time.sleep(0.1)


def keys(items):
    return {"/".join(item.nested_key) or item.key for item in items}


def test_wandb_offline_holds_what_the_files_hold(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tell(tmp_path, "offline")
    found = settled(tmp_path)
    [started] = [r.run for r in found if r.WhichOneof("record_type") == "run"]
    assert "seed" in keys(started.config.update) and started.project == "esr"
    history = [r.history for r in found if r.WhichOneof("record_type") == "history"]
    seen = set().union(*(keys(row.item) for row in history))
    assert {"train/loss", "time/train_s", "eval/lab/avg@4", "samples/_type"} <= seen, seen
    summaries = [r.summary for r in found if r.WhichOneof("record_type") == "summary"]
    assert "steps" in set().union(*(keys(s.update) for s in summaries))


def test_the_files_hold_valid_json_whatever_was_computed(tmp_path):
    tell(tmp_path, "disabled")
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    refuse = pytest.fail
    assert [json.loads(line, parse_constant=refuse) for line in lines] == [
        {"step": 1, **METRICS},
        {"step": 2, **METRICS},
    ]
    assert json.loads((tmp_path / "eval.jsonl").read_text()) == EVAL
    assert json.loads((tmp_path / "generations.jsonl").read_text()) == RESPONSES
    assert json.loads((tmp_path / "samples.jsonl").read_text())["response"] == "so"
    assert not (tmp_path / "wandb").exists()


def test_online_without_a_key_goes_offline_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    tell(tmp_path, "online")
    assert "Logging offline" in capsys.readouterr().out
    assert list(tmp_path.glob("wandb/offline-run-*"))


def test_a_mirror_that_falls_leaves_the_run_going(tmp_path, capsys):
    with Tracker(tmp_path, {}, "offline", "esr", "name", total_steps=1) as tracker:
        tracker._wandb.finish()
        tracker.log(1, METRICS)
        tracker.log(2, METRICS)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert capsys.readouterr().out.count("W&B stopped") == 1


def test_a_folder_wandb_cannot_use_is_a_warning(tmp_path, monkeypatch, capsys):
    import wandb

    def broken(**_):
        raise OSError("no room for a log")

    monkeypatch.setattr(wandb, "init", broken)
    tell(tmp_path, "offline")
    assert "W&B could not start (no room for a log)" in capsys.readouterr().out
    assert (tmp_path / "metrics.jsonl").exists()


def test_plain_lines_say_where_the_run_is(tmp_path, capsys):
    tell(tmp_path, "disabled")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 1/2  loss 0.5000  train 0.25s  left ")
    assert "step 2: lab avg@4 0.500 [0.400, 0.600] on 4 problems (1 s)" in lines
    assert "avg@4 0.500" in (tmp_path / "esr.log").read_text()
