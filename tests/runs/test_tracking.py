"""Logging of a run: its files, its lines, and trackers, whose failures never stop the run."""

from __future__ import annotations

import json
import math
import resource
from contextlib import contextmanager

import pytest
import wandb_log
from conftest import interpreter, rows
from mirrored_runs import EVAL, METRICS, RESPONSES, offline, start, when_started

from esr_cli.config import TrackingConfig
from esr_cli.runs.tracking import Tracker


def log_a_run(folder, settings):
    with Tracker(folder, {"seed": 7}, settings, total_steps=2) as tracker:
        tracker.open_mirror()
        tracker.begin()
        tracker.log(1, METRICS)
        tracker.log(2, METRICS | {"train/reverse_kl": math.nan})
        tracker.log_eval([EVAL], [RESPONSES], 1.0)
        tracker.finish({"steps": 2}, [])


def test_the_files_hold_valid_json_for_any_metrics(tmp_path):
    log_a_run(tmp_path, TrackingConfig("disabled"))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    refuse = pytest.fail
    assert [json.loads(line, parse_constant=refuse) for line in lines] == [
        {"step": 1, **METRICS},
        {"step": 2, **METRICS},
    ]
    assert json.loads((tmp_path / "eval.jsonl").read_text()) == EVAL
    assert json.loads((tmp_path / "generations.jsonl").read_text()) == RESPONSES
    assert json.loads((tmp_path / "samples.jsonl").read_text())["response"] == "so"
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set()


def test_a_run_without_trackers_imports_none(tmp_path):
    code = (
        "import sys; sys.path[:0] = ['tests/runs']; import pathlib, mirrored_runs as runs\n"
        f"runs.start(pathlib.Path({str(tmp_path)!r}), runs.TrackingConfig('disabled'), 1, 2, [2])\n"
        "print({'wandb', 'tensorboard', 'trackio', 'torch.utils.tensorboard'} & set(sys.modules))"
    )
    done = interpreter("-c", code)
    assert done.stdout.endswith("\nset()\n"), done.stdout + done.stderr


def test_online_without_a_key_goes_offline_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    log_a_run(tmp_path, TrackingConfig("online"))
    output = capsys.readouterr().out
    assert "wandb login" in output and "WANDB_API_KEY" in output and "Logging offline" in output
    [file] = wandb_log.files(tmp_path)
    assert len(wandb_log.of(wandb_log.finished(file), "history")) >= 3


def test_a_failure_of_wandb_does_not_stop_the_run(tmp_path, capsys):
    with Tracker(tmp_path, {}, TrackingConfig("offline"), total_steps=1) as tracker:
        tracker.open_mirror()
        when_started(tracker)._run.finish()
        tracker.log(1, METRICS)
        tracker.log(2, METRICS)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert capsys.readouterr().out.count("W&B stopped") == 1


@contextmanager
def files_no_larger_than(size):
    """Writing past `size` bytes of a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("tracker", "title"), [("tensorboard", "TensorBoard"), ("trackio", "trackio")]
)
def test_a_disk_that_is_full_for_a_tracker_is_one_warning_and_the_run_goes_on(
    tracker, title, tmp_path, capsys
):
    many = {f"a metric with quite a long name {index}": 1.0 for index in range(200)}
    with (
        files_no_larger_than(1 << 16),
        Tracker(tmp_path, {}, offline(tracker, name=f"full {tracker}"), total_steps=6) as run,
    ):
        run.open_mirror()
        for step in range(1, 7):
            run.log(step, {key[-12:]: value for key, value in many.items()})
            run.mirror.log(step, {f"{key} {step}": value for key, value in many.items()})
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4, 5, 6]
    shown = capsys.readouterr()
    assert shown.out.count(f"warning: {title} stopped (") == 1, shown.out
    assert shown.out.count("metrics.jsonl holds everything") == 1 and shown.err == ""


@pytest.mark.parametrize(
    ("tracker", "title", "blocked"),
    [("wandb", "W&B", "wandb_id"), ("tensorboard", "TensorBoard", "tensorboard"),
     ("trackio", "trackio", "trackio_id")],
)  # fmt: skip
def test_a_tracker_that_cannot_start_is_one_warning(tracker, title, blocked, tmp_path, capsys):
    if tracker == "tensorboard":
        (tmp_path / blocked).write_text("a file where the folder belongs")
    else:
        (tmp_path / blocked).mkdir()
    start(tmp_path, offline(tracker), 1, 2)
    out = capsys.readouterr().out
    assert out.count(f"warning: {title} could not start (") == 1, out
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]


def test_plain_lines_show_the_progress(tmp_path, capsys):
    log_a_run(tmp_path, TrackingConfig("disabled"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 1/2  loss 0.5000  train 0.25s  left ")
    assert "step 2: lab avg@4 0.500 [0.400, 0.600] on 4 problems (1 s)" in lines
    assert "avg@4 0.500" in (tmp_path / "esr.log").read_text()
