"""Logging of a run: its files, its lines, and W&B, whose failures never stop the run."""

from __future__ import annotations

import json
import math

import pytest
import wandb_log

from esr_cli.config import TrackingConfig
from esr_cli.runs.tracking import Tracker

METRICS = {"train/loss": 0.5, "time/train_s": 0.25}
EVAL = {
    "step": 2, "benchmark": "lab", "metric": "avg@4", "value": 0.5, "low": 0.4, "high": 0.6, "n": 4,
}  # fmt: skip
RESPONSES = {
    "id": "a", "step": 2, "benchmark": "lab", "prompt": "why ?", "responses": ["so", "thus"],
    "correct": [True, False], "reason": ["right", "2, not 3"],
}  # fmt: skip


def log_a_run(folder, mode, **settings):
    settings = TrackingConfig(mode, **settings)
    with Tracker(folder, {"seed": 7}, settings, total_steps=2, tags=["N=8"]) as tracker:
        tracker.open_mirror()
        tracker.begin()
        tracker.log(1, METRICS)
        tracker.log(2, METRICS | {"train/reverse_kl": math.nan})
        tracker.log_eval([EVAL], [RESPONSES], 1.0)
        tracker.finish({"steps": 2}, [])


def test_the_files_hold_valid_json_for_any_metrics(tmp_path):
    log_a_run(tmp_path, "disabled")
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
    log_a_run(tmp_path, "online")
    output = capsys.readouterr().out
    assert "wandb login" in output and "WANDB_API_KEY" in output and "Logging offline" in output
    [file] = wandb_log.files(tmp_path)
    assert len(wandb_log.of(wandb_log.finished(file), "history")) >= 3


def test_a_failure_of_wandb_does_not_stop_the_run(tmp_path, capsys):
    with Tracker(tmp_path, {}, TrackingConfig("offline"), total_steps=1) as tracker:
        tracker.open_mirror()
        tracker.mirror._run.finish()
        tracker.log(1, METRICS)
        tracker.log(2, METRICS)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert capsys.readouterr().out.count("W&B stopped") == 1


def test_a_folder_wandb_cannot_use_is_a_warning(tmp_path, monkeypatch, capsys):
    import wandb

    def broken(**_):
        raise OSError("no room for a log")

    monkeypatch.setattr(wandb, "init", broken)
    log_a_run(tmp_path, "offline")
    assert "W&B could not start (no room for a log)" in capsys.readouterr().out
    assert (tmp_path / "metrics.jsonl").exists()


def test_plain_lines_show_the_progress(tmp_path, capsys):
    log_a_run(tmp_path, "disabled")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 1/2  loss 0.5000  train 0.25s  left ")
    assert "step 2: lab avg@4 0.500 [0.400, 0.600] on 4 problems (1 s)" in lines
    assert "avg@4 0.500" in (tmp_path / "esr.log").read_text()
