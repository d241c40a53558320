"""A run with every point of a recipe turned at once, from check to evaluation."""

from __future__ import annotations

import json

import pytest
from conftest import SHORT, esr, rows

POINTS = (
    "pair.teacher.reads=student", "pair.student.before_response='plan :'",
    "pair.teacher.before_response='plan :'", "pair.train_ends=false", "pair.stop=student",
    "pair.stop_tokens=[';']", "pair.merge_eos=false", "pair.vocabulary=all", "rollout=eager",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe") / "run"
    given = (*SHORT, *POINTS, "execution=inline", "tracking=none", "steps=2", f"run_dir={folder}")
    done = esr("train", *given, "rollout_len=full", cwd=folder.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_responses_stop_at_the_students_own_end_and_ends_are_not_trained(run):
    saved = json.loads((run / "student" / "generation_config.json").read_text())
    assert saved["eos_token_id"] == [2]
    [first, _] = rows(run)
    # `;` is in every answer, and no end of a response.
    assert first["rollout/eos_rate"] == 1 and first["rollout/length_mean"] > 70
    trained = sum(rows(run, "kl_by_position.jsonl")[0]["count"])
    assert trained == first["rollout/tokens"] - 4
    assert first["rollout/logprob_gap_max"] < 1e-3, "compared in the context of sampling"
    assert first["train/reverse_kl"] > 0.3, "but trained in another"


def test_an_evaluation_of_the_run_stops_as_the_run_did(run):
    given = ("rollout=eager", "execution=inline", "limit=4", "checkpoints=all")
    done = esr("eval", f"run={run}", *given, "benchmark.lab.samples=1", cwd=run.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    of_run = {row["metric"]: row["value"] for row in rows(run, "eval.jsonl") if row["step"] == 2}
    [folder] = (run / "eval").iterdir()
    again = {row["metric"]: row["value"] for row in rows(folder, "eval.jsonl") if row["step"] == 2}
    shared = of_run.keys() & again.keys()
    assert "avg@1" in shared and again["ended"] > 0.5
    assert {name: of_run[name] for name in shared} == {name: again[name] for name in shared}


def test_check_reports_each_point(tmp_path):
    done = esr("check", *POINTS, "+rollout_len=32", cwd=tmp_path)
    out = " ".join(done.stdout.split())
    assert done.returncode == 0, out + done.stderr
    for part in (
        "softmaxes over 108 rows that both models have; 0 are no token of both",
        "teacher's prompt reads the ids of the student's prompt",
        "teacher's prompt 'plan :' stands before the responses that it scores",
        "student's prompt trained after 'plan :', which is not there when it samples",
        "rollouts stop at <eos>, and ends are not trained",
        "the first prompt as the student in training reads it",
    ):
        assert part in out, (part, out)
