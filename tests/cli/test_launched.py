"""Sweeps whose runs are SLURM jobs: what is refused before, and what a dry run prints."""

from __future__ import annotations

import re

import pytest
from conftest import esr

from esr_cli.cli import launched, sweep

ON_RAY = ("+rollout_len=8,16", "rollout=eager", "execution=ray", "tracking=none")


@pytest.fixture(autouse=True)
def needs_launcher():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    pytest.importorskip("ray")


@pytest.mark.parametrize(("arguments", "message"), [
    (["-m", "nodes=2"], "nodes=2: it needs +cluster=slurm"),
    (["nodes=2", "+cluster=local"], "nodes=2: it needs +cluster=slurm"),
    (["nodes=0", "+cluster=slurm"], "nodes=0: give a whole number"),
    (["nodes=1.5", "+cluster=slurm"], "nodes=1.5: give a whole number"),
    (["nodes=2,4", "+cluster=slurm"], "nodes=2,4: give a whole number"),
    (["+cluster=slurm", "hydra.launcher.nodes=-1"], "nodes=-1: give a whole number"),
    (["nodes=2", "+cluster=slurm", "execution=process"], "nodes=2: a run on several machines need"),
    (["nodes=2", "+cluster=slurm", "execution=process,ray"], "machines needs execution=ray"),
    (["nodes=2", "+cluster=slurm", "execution.address=h:1"], "execution.address=h:1: with nodes=2"),
    (["nodes=2", "+cluster=slurm", "hydra.launcher.tasks_per_node=2"], "per_node=2: give 1"),
])  # fmt: skip
def test_nodes_that_a_run_cannot_use_are_refused_before_it_is_submitted(
    arguments, message, tmp_path
):
    done = esr("train", *ON_RAY, *arguments, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_only_training_runs_have_several_nodes(tmp_path):
    done = esr("eval", "-m", "+cluster=slurm", "nodes=2", "model=x", cwd=tmp_path)
    assert done.returncode == 2 and "nodes=2: only esr train" in done.stderr, done.stderr


def test_a_dry_run_prints_the_jobs_and_submits_none(tmp_path):
    arguments = ["+cluster=slurm", "nodes=3", "hydra.launcher.gpus_per_node=8", "dry_run=true"]
    done = esr("train", *ON_RAY, *arguments, cwd=tmp_path)
    assert done.returncode == 0 and not list(tmp_path.iterdir()), done.stderr
    first, ray, *runs = done.stdout.splitlines()
    assert first.startswith("2 jobs of 3 nodes, one task each, with 8 GPUs, 8 CPUs, 64 GB, 720")
    assert "hands out 23 GPUs; the run trains on GPU 0 of the first node" in ray
    assert [re.search(r"rollout_len=\d+", run)[0] for run in runs] == [
        "rollout_len=8",
        "rollout_len=16",
    ]
    for run in runs:
        assert "nodes" not in run and run.endswith(" execution.address=HOST:PORT"), run


def test_the_number_of_nodes_is_no_setting_of_the_run():
    arguments = launched.with_nodes("train", ["+cluster=slurm", "nodes=4", "steps=3"])
    assert arguments == ["+cluster=slurm", "hydra.launcher.nodes=4", "steps=3"]
    assert sweep.folder_for("train", arguments).name == "steps=3"
