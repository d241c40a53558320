"""`rollout_len=auto`: N from the profile, measured before the run or by an earlier probe."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import SHORT, esr, read, rows, value

from esr_cli.assembly import preflight
from esr_cli.assembly.data import make_task
from esr_cli.base import files
from esr_cli.config import ProbeCommandConfig, gate
from esr_cli.graders import lab
from esr_cli.graders.plain import PlainGrader
from esr_cli.probe import earlier
from esr_cli.probe import plan as probe_plan
from esr_cli.probe.analyses import profile
from esr_cli.probe.analyses.reads import Read
from esr_cli.probe.material import Material
from esr_cli.probe.settings import profile_of, settings
from esr_cli.train import auto_length


def test_n_is_measured_with_the_prompts_and_sampling_of_the_run(tmp_path):
    """Neither held-out questions nor the benchmarks' sampling settings are used."""
    given = ("+rollout_len=auto", "rollout.temperature=0.9", "rollout.top_k=7", "seed=3",
             "benchmark.lab.temperature=0.1", "benchmark.lab.max_tokens=9")  # fmt: skip
    found = probe_plan.plan(profile_of(read(*given)))
    exam = found.exams["before"]
    drawn = (exam.sampling.temperature, exam.sampling.top_k, exam.sampling.max_tokens)
    assert drawn == (0.9, 7, 128) and exam.sampling.samples == 1
    config, words = found.config, found.tokenizers
    task = make_task(config, words["student"], words["teacher"])
    assert exam.prompts == task.train(0, 128)
    # The token mask of training applies here too; not in evaluations, nor to the teacher.
    assert exam.sampling.shared_only and not found.exams["teacher"].sampling.shared_only
    asked = read("rollout=eager", command="probe", schema=ProbeCommandConfig)
    assert not probe_plan.plan(asked).exams["before"].sampling.shared_only


def test_the_profile_masks_out_tokens_that_the_teacher_lacks(tmp_path, monkeypatch):
    config = read("+rollout_len=auto", "rollout=eager", "execution=inline")
    given = make_task(config, *preflight.check_models(config))
    made = []
    monkeypatch.setattr(probe_plan, "make_task", lambda *_: made.append(1))
    plan = probe_plan.plan(replace(profile_of(config), prompts=4), given)
    # The word that the student would sample first.
    masked = plan.tokenizers["student"]("plan").input_ids[0]
    monkeypatch.setattr(type(plan.pairing.shared), "masked", lambda self, rows: (masked,))
    material = Material(plan, tmp_path, PlainGrader(lab.grade))
    drawn = [each.response_ids for each in material.rollouts("before")]
    material.close()
    assert len(drawn) == 4 and not made
    assert all(masked not in ids for ids in drawn)


def test_an_earlier_profile_is_reused_with_the_same_sampling_and_enough_prompts(tmp_path):
    run = read("+rollout_len=auto", "rollout=eager")
    wanted = settings(profile_of(run), "profile")
    (tmp_path / "probes-before").mkdir()
    rows_of = profile.rows([Read("q", ("a", "b"), *[np.array([1.0, 3.0])] * 5)], "before", 0.45)
    files.write_rows(tmp_path / "probes-before" / "profile.jsonl", rows_of)
    for change, serves in (
        ({}, True), ({"prompts": 1000}, True), ({"seed": 9}, True), ({"prompts": 100}, False),
        ({"rollout": {**wanted["rollout"], "top_p": 0.9}}, False), ({"source": "x"}, False),
    ):  # fmt: skip
        gate.write_yaml({**wanted, **change}, tmp_path / "probes-before" / "profile.yaml")
        assert earlier.serves(tmp_path / "probes-before", profile_of(run)) == serves


def test_n_is_measured_before_a_run_and_kept_by_it(tmp_path):
    shared = ("rollout=eager", "execution=inline", "tracking=none", "limit=4")
    settings = (*SHORT[1:], "+rollout_len=auto", *shared, "steps=2")
    done = esr("train", *settings, "run_dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    profile = rows(tmp_path / "run" / "probes-before", "profile.jsonl")
    suggested = int(value(profile, "suggested_tokens", who="before"))
    # The teacher writes careful solutions, more than twice as long as what the KL suggests.
    longest, n = int(value(profile, "median_length", who="teacher")), suggested
    assert 8 < suggested < 50 and 2 * suggested < longest < 128
    assert f"max_tokens: {n}\n" in (tmp_path / "run" / "config.yaml").read_text()
    assert (
        f"rollout_len=auto: N={n}, measured now: run/" in (tmp_path / "run" / "esr.log").read_text()
    )
    assert f"the teacher's median response has {longest} tokens" in done.stdout
    assert all(8 < row["rollout/length_mean"] <= n for row in rows(tmp_path / "run"))
    # A resumed run keeps N; an earlier probe of the same settings replaces the measurement.
    more = esr("train", "resume=run", "steps=3", "+rollout_len=auto", cwd=tmp_path)
    assert more.returncode == 0 and "probes-before" not in more.stdout
    assert f"max_tokens: {n}\n" in (tmp_path / "run" / "config.yaml").read_text()
    asked = ("probe", "rollout=eager", "execution=inline", "source=task")
    assert esr(*asked, "prompts=130", "seed=2", cwd=tmp_path).returncode == 0
    done = esr("train", *settings, "run_dir=other", cwd=tmp_path)
    assert done.returncode == 0 and "both models read" not in done.stdout
    reported = re.search(r"N=(\d+), measured earlier: (\S+)/profile.jsonl", done.stdout)
    assert reported[2].startswith("runs/lab/probes-") and "prompts=130" in reported[2]
    assert f"max_tokens: {reported[1]}\n" in (tmp_path / "other" / "config.yaml").read_text()
    # The same profile is what a given N is compared with, without any model.
    probed = rows(tmp_path / reported[2], "profile.jsonl")
    typical = int(value(probed, "median_length", who="teacher"))
    below = f"N=64 is below the median of the teacher's own responses, {typical} tokens"
    for given, said in (
        (["+rollout_len=64"], below), (["+rollout_len=120"], "at most N=120"),
        (["+rollout_len=64", "lengths=mixture", "lengths.full_share=0.25"], f"{below} ("),
        (["+rollout_len=64", "rollout.temperature=0.9"], "esr probe source=task measures it"),
    ):  # fmt: skip
        checked = esr("check", *given, *shared[:2], cwd=tmp_path)
        assert checked.returncode == 0 and said in checked.stdout, checked.stdout
        warned = re.search(r"^warning +teacher's length", checked.stdout, re.M)
        assert bool(warned) == (given == ["+rollout_len=64"])
    done = esr("train", "+rollout_len=64", *SHORT[1:], *shared, "steps=1", "run_dir=third",
               cwd=tmp_path)  # fmt: skip
    assert f"warning: teacher's length {below}" in done.stdout


@pytest.mark.parametrize(
    ("suggested", "length", "n", "said"),
    [
        (38, None, 38, ""), (60, 52, 60, ""), (52, 52, 52, ""), (30, 52, 52, "suggests 30"),
        (26, 52, 52, "suggests 26"), (25, 52, 25, "has 52 tokens"), (90, 2048, 90, "has 2048"),
    ],
)  # fmt: skip
def test_n_is_raised_to_the_teachers_length_if_that_at_most_doubles_it(suggested, length, n, said):
    found, why = auto_length.chosen(suggested, length)
    assert found == n and said in why and bool(said) == bool(why)


def test_check_reports_that_n_will_be_measured(tmp_path):
    done = esr("check", "+rollout_len=auto", "rollout=eager", cwd=tmp_path)
    assert done.returncode == 0 and "N will be measured before the run starts" in done.stdout
