"""`rollout_len=auto`: N from the profile, measured before the run or by an earlier probe."""

from __future__ import annotations

import re

import numpy as np
from conftest import SHORT, esr, rows
from test_cli import read
from test_probe_command import value

from esr_cli import assembly, auto_length, disk, probe_plan
from esr_cli.config import gate
from esr_cli.probe_settings import settings
from esr_cli.probes import profile
from esr_cli.probes.reads import Read


def test_n_is_sought_where_and_as_the_run_will_draw(tmp_path):
    """No held-out question chooses it, and no benchmark says how it is drawn."""
    given = ("+rollout_len=auto", "rollout.temperature=0.9", "rollout.top_k=7", "seed=3",
             "benchmark.lab.temperature=0.1", "benchmark.lab.max_tokens=9")  # fmt: skip
    found = probe_plan.plan(auto_length.profile_of(read(*given)))
    exam = found.exams["before"]
    drawn = (exam.sampling.temperature, exam.sampling.top_k, exam.sampling.max_tokens)
    assert drawn == (0.9, 7, 128) and exam.sampling.samples == 1
    config, words = found.config, found.tokenizers
    task = assembly.make_task(config, words["student"], words["teacher"])
    assert exam.prompts == task.train(0, 128)


def test_an_earlier_profile_serves_with_as_many_prompts_drawn_alike(tmp_path):
    run = read("+rollout_len=auto", "rollout=eager")
    wanted = settings(auto_length.profile_of(run), "profile")
    (tmp_path / "probes-before").mkdir()
    rows_of = profile.rows([Read("q", ("a", "b"), *[np.array([1.0, 3.0])] * 5)], "before", 0.45)
    disk.write_rows(tmp_path / "probes-before" / "profile.jsonl", rows_of)
    for change, serves in (
        ({}, True), ({"prompts": 1000}, True), ({"seed": 9}, True), ({"prompts": 100}, False),
        ({"rollout": {**wanted["rollout"], "top_p": 0.9}}, False), ({"source": "x"}, False),
    ):  # fmt: skip
        gate.write_yaml({**wanted, **change}, tmp_path / "probes-before" / "profile.yaml")
        assert auto_length.serves(tmp_path / "probes-before", auto_length.profile_of(run)) == serves


def test_n_is_measured_before_a_run_and_kept_by_it(tmp_path):
    shared = ("rollout=eager", "execution=inline", "tracking=none", "limit=4")
    settings = (*SHORT[1:], "+rollout_len=auto", *shared, "steps=2")
    done = esr("train", *settings, "run_dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    profile = rows(tmp_path / "run" / "probes-before", "profile.jsonl")
    n = int(value(profile, "suggested_tokens", who="before"))
    assert 8 < n < 82 and f"max_tokens: {n}\n" in (tmp_path / "run" / "config.yaml").read_text()
    assert (
        f"rollout_len=auto: N={n}, measured now: run/" in (tmp_path / "run" / "esr.log").read_text()
    )
    assert {row["rollout/length_mean"] for row in rows(tmp_path / "run")} == {n}
    # Gone on with, it is the same N; a probe of the same settings spares the measurement.
    more = esr("train", "resume=run", "steps=3", "+rollout_len=auto", cwd=tmp_path)
    assert more.returncode == 0 and rows(tmp_path / "run")[-1]["rollout/length_mean"] == n
    asked = ("probe", "rollout=eager", "execution=inline", "source=task")
    assert esr(*asked, "prompts=130", "seed=2", cwd=tmp_path).returncode == 0
    done = esr("train", *settings, "run_dir=other", cwd=tmp_path)
    assert done.returncode == 0 and "both models read" not in done.stdout
    told = re.search(r"N=(\d+), measured earlier: (\S+)/profile.jsonl", done.stdout)
    assert told[2].startswith("runs/lab/probes-") and "prompts=130" in told[2]
    assert rows(tmp_path / "other")[-1]["rollout/length_mean"] == int(told[1])


def test_a_check_says_that_n_will_be_measured(tmp_path):
    done = esr("check", "+rollout_len=auto", "rollout=eager", cwd=tmp_path)
    assert done.returncode == 0 and "N will be measured before the run starts" in done.stdout
