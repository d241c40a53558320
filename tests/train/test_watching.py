"""The watch in real runs: a lab student that is made to loop, one that is not, and the cost."""

from __future__ import annotations

import json

import pytest
from conftest import INLINE, SHORT, esr, read, rows, timeless

from esr_cli.train.watching import cuts

# A rate that destroys what lies beyond N within a few steps.
LOOPS = ("train", *SHORT, *INLINE, "steps=14", "watch.every=4", "watch.prompts=12",
         "tune.learning_rate=3e-3", "tune.schedule=constant", "watch.stop=true")  # fmt: skip


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that loops, ended by `watch.stop`."""
    folder = tmp_path_factory.mktemp("stopped")
    return folder, esr(*LOOPS, "save_every=4", "run_dir=run", cwd=folder)


def test_a_run_that_loops_is_stopped_and_names_the_checkpoint_before(stopped):
    folder, done = stopped
    assert done.returncode == 1
    said, how = done.stderr.strip().splitlines()[-2:]
    assert "watch.stop" in said and "rollouts cut at N=8" in said and "whole responses" in said
    assert how.startswith("step-000004 is the last checkpoint before: esr eval run=run ")
    assert "esr train resume=run watch.stop=false goes on from step-000008" in how
    log = (folder / "run" / "esr.log").read_text()
    assert "warning: of 24 whole responses at steps 4 to 8" in log
    found = rows(folder / "run", "watch.jsonl")
    assert [row["step"] for row in found] == [0, 4, 8] and found[0]["ended"] > 0.7
    assert found[-1]["ended"] < 0.3 and found[-1]["ended_high"] > found[-1]["ended"]
    assert {row["graded"] for row in found} == {12} and found[0]["boxed"] > 0.7
    graded = esr("eval", "run=run", "checkpoints=all", "limit=2", "rollout=eager",
                 "execution=inline", cwd=folder)  # fmt: skip
    assert graded.returncode == 0 and "run/eval/" in graded.stdout


def test_a_stopped_run_resumes_only_without_the_stop(stopped):
    folder, _ = stopped
    again = esr("train", "resume=run", cwd=folder)
    assert again.returncode == 1 and "watch.stop=false goes on" in again.stderr
    done = esr("train", "resume=run", "watch.stop=false", "watch.every=100", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["step"] for row in rows(folder / "run", "watch.jsonl")] == [0, 4, 8]
    assert "whole responses that end (step 8)" in done.stdout
    told = json.loads((folder / "run" / "summary.json").read_text())["watch"]
    metrics = rows(folder / "run")
    spent = sum(row["time/watch_s"] for row in metrics if "time/watch_s" in row)
    assert told["watches"] == 3 and 0 < told["share"] < 1
    # The watch of the step that was stopped is in no step's time.
    assert spent < told["seconds"]


def test_a_run_that_does_well_is_left_alone_and_trains_as_without_a_watch(tmp_path):
    run = ("train", *SHORT, *INLINE, "+rollout_len=64", "steps=9", "watch.every=4", "eval_every=0")
    run = tuple(each for each in run if each != "+rollout_len=8")
    for name, more in (("watched", "watch.stop=true"), ("alone", "watch.every=0")):
        done = esr(*run, more, f"run_dir={name}", cwd=tmp_path)
        assert done.returncode == 0 and "repeat themselves (alarms" not in done.stdout, done.stdout
    watched = tmp_path / "watched"
    assert [row["ended"] > 0.5 for row in rows(watched, "watch.jsonl")] == [True] * 3
    assert "rollouts cut at" not in (watched / "esr.log").read_text()
    # A watch precedes the step that it is timed with.
    assert [row["step"] for row in rows(watched) if "time/watch_s" in row] == [1, 5, 9]
    assert timeless(watched) == timeless(tmp_path / "alone")
    assert not (tmp_path / "alone" / "watch.jsonl").exists()


def test_stale_rollouts_are_watched_with_the_weights_of_the_step(tmp_path):
    """Each watch follows a hand-over, and none changes which rollouts lag."""
    run = ("train", "rollout=eager", "tracking=none", "execution.teacher=inline", *SHORT)
    run += ("rollout.staleness=1", "save_every=3", "steps=6", "watch.every=2")
    done = esr(*run, "run_dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["rollout/stale"] for row in rows(tmp_path / "run")] == [0, 1, 1, 0, 1, 1]
    assert [row["step"] for row in rows(tmp_path / "run", "watch.jsonl")] == [0, 3]


def test_a_watch_that_would_cost_too_much_is_put_off_and_said(tmp_path):
    done = esr("train", *SHORT, *INLINE, "steps=6", "watch.every=1", "watch.share=0.001",
               "run_dir=run", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "run", "watch.jsonl")) == 1
    assert "no alarm on whole responses in this run of 6 steps" in done.stdout
    assert "watch.share=0.001" in done.stdout


@pytest.mark.parametrize(
    ("given", "watched"),
    [
        (["+rollout_len=64"], True),
        (["+rollout_len=full"], False),
        (["+rollout_len=full", "lengths=linear"], True),
        (["+rollout_len=full", "lengths=random"], True),
        (["+rollout_len=full", "lengths=share"], True),
        (["+rollout_len=64", "lengths=mixture", "lengths.full_share=0.5"], True),
        (["+rollout_len=64", "lengths=mixture", "lengths.full_share=1"], False),
    ],
)
def test_runs_that_cut_rollouts_are_watched(given, watched):
    assert cuts(read(*given)) is watched
