"""Sweeps from the command line: failed, repeated, interrupted and launched runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest
from conftest import INLINE, SHORT, esr, launch, rows, same_end

from esr_cli.base import process as proc
from esr_cli.cli import sweep
from esr_cli.cli.launched import counts
from esr_cli.config import ConfigError, TrainConfig, gate
from esr_cli.execution import jobs
from esr_cli.runs import folder as run_folder
from esr_cli.runs.saved import settings as saved_settings

FEW = (*SHORT[1:], *INLINE, "steps=2")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Three runs, one of which is made to fail."""
    folder = tmp_path_factory.mktemp("sweep")
    done = esr("train", "-m", "+rollout_len=8,0,12", *FEW, "run_dir=all", cwd=folder)
    return folder, done


def folder_of(parent, length):
    [folder] = [each for each in parent.glob("all/*") if f"rollout_len={length}," in f"{each.name},"
               and each.name != "sweeps"]  # fmt: skip
    return folder


def test_a_failed_run_stops_no_other_and_its_reason_is_printed(swept):
    folder, done = swept
    assert done.returncode == 1, done.stdout + done.stderr
    for length in (8, 12):
        assert (folder_of(folder, length) / "summary.json").is_file()
        line = next(x for x in done.stdout.splitlines() if f"  rollout_len={length}  " in x)
        assert " -> " in line and line.endswith("  complete"), line
    assert "[2/3]  rollout_len=0  failed: rollout_len=0: give a positive number" in done.stdout
    # Hydra's folders and files are below the sweep's folder.
    assert {each.name for each in folder.iterdir()} == {"all"}


def test_runs_of_a_sweep_have_readable_names_and_share_a_group(swept):
    shown = [saved_settings(folder_of(swept[0], length))["tracking"] for length in (8, 12)]
    assert [each["name"] for each in shown] == ["lab N=8 s0", "lab N=12 s0"]
    assert len({each["group"] for each in shown}) == 1
    assert shown[0]["group"].startswith("lab ") and "rollout_len=8,0,12" in shown[0]["group"]


def test_a_repeated_sweep_skips_complete_runs_and_resumes_incomplete_ones(swept):
    folder, _ = swept
    complete, incomplete = folder_of(folder, 8), folder_of(folder, 12)
    before = rows(incomplete)
    (incomplete / "summary.json").unlink()
    modified = (complete / "summary.json").stat().st_mtime_ns
    done = esr("train", "-m", "+rollout_len=8,12", *FEW, "run_dir=all", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert any("rollout_len=8  " in line and "complete before" in line for line in lines)
    assert (complete / "summary.json").stat().st_mtime_ns == modified
    assert (incomplete / "summary.json").is_file()
    # It resumed from the checkpoint of the last step, so no step was repeated.
    assert rows(incomplete) == before


def test_a_run_of_a_sweep_equals_the_same_run_alone(swept):
    folder, _ = swept
    done = esr("train", "+rollout_len=8", *FEW, "run_dir=alone", cwd=folder)
    assert done.returncode == 0, done.stderr
    same_end(folder / "alone", folder_of(folder, 8))


def test_other_settings_in_a_complete_folder_are_reported(swept, tmp_path):
    folder, _ = swept
    run = folder_of(folder, 8)
    saved = saved_settings(run)
    config = gate.typed(saved, TrainConfig)
    assert run_folder.difference(run, config) == ""
    saved["tune"]["learning_rate"] = 1.0
    difference = run_folder.difference(run, gate.typed(saved, TrainConfig))
    assert "tune.learning_rate=0.0002, not 1.0" in difference


def test_an_error_in_all_runs_of_a_sweep_is_one_line_and_status_2(tmp_path):
    for arguments, message in (
        (["-m", "seed=0,1", "+rollout_len=0"], "rollout_len=0: give a positive number"),
        (["-m", "seed=0,1", "stepss=3"], "stepss"),
        (["-m", "+sweep=lengthss"], "sweep=lengthss: no such option; there are lengths, selectors"),
    ):
        done = esr("train", *arguments, *FEW[1:], cwd=tmp_path)
        assert done.returncode == 2 and done.stdout == "", done.stdout
        assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not list(tmp_path.glob("runs/sweeps/*"))


def test_a_sweep_may_be_a_dry_run(swept):
    folder, _ = swept
    done = esr("train", "-m", "+rollout_len=8,0", *FEW, "run_dir=all", "dry_run=true", cwd=folder)
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and sum(x.endswith("  would start") for x in lines) == 1, lines
    log = next(x for x in lines if x.startswith("rollout_len=8: its log is "))
    assert "esr train would start" in (folder / log.partition("log is ")[2]).read_text()


def test_a_named_sweep_counts_its_runs_and_an_override_replaces_its_values():
    assert counts(["+sweep=lengths"]) == {"+sweep": 1, "rollout_len": 5, "seed": 3}
    assert counts(["+sweep=lengths", "seed=4"])["seed"] == 1


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["+sweep=lengths"], "15 runs (+sweep=lengths starts a sweep, also without -m)"),
        (["-m", "+sweep=lengths"], "15 runs"),
        (["-m", "seed=3"], "1 run: no setting has several values, such as seed=0,1"),
        (["seed=3", "+cluster=local"], "1 run"),
    ],
)
def test_a_sweep_says_how_many_runs_it_has_and_what_may_surprise(typed, line, tmp_path):
    assert sweep.Watch(tmp_path, counts(typed), typed)._count() == line


def start_sweep(folder, *arguments):
    return launch("train", "-m", *arguments, cwd=folder, stdout=subprocess.PIPE)


def wait_until(condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


LONG = ("+rollout_len=8", "seed=0,1", *FEW[:-1], "steps=400", "run_dir=all")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_saves_its_run_and_starts_no_other(number, tmp_path):
    process = start_sweep(tmp_path, *LONG)
    wait_until(lambda: list(tmp_path.glob("all/*/checkpoints/step-*")))
    process.send_signal(number)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "the same command resumes the sweep" in errors, (
        out + errors
    )
    [run] = [each for each in tmp_path.glob("all/*") if each.name != "sweeps"]
    last = sorted(run.glob("checkpoints/*"))[-1]
    assert len(rows(run)) == int(last.name.removeprefix("step-"))


@pytest.mark.parametrize("number", jobs.SENT_TO_ALL)
def test_a_signal_to_all_processes_of_a_slurm_job_saves_its_run(number, tmp_path, monkeypatch):
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    process = start_sweep(tmp_path, *LONG)
    wait_until(lambda: list(tmp_path.glob("all/*/checkpoints/step-*")))
    # SLURM repeats it, too.
    for _ in range(2):
        for pid in [process.pid, *proc.descendants(process.pid)]:
            os.kill(pid, number)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 130, out + errors
    [log] = tmp_path.glob("all/sweeps/*/000.log")
    [run] = [each for each in tmp_path.glob("all/*") if each.name != "sweeps"]
    assert f"\nstep-{len(rows(run)):06d} is saved; " in log.read_text(), log.read_text()


def test_all_nodes_of_a_job_leave_alike_when_there_is_nothing_to_run(swept, monkeypatch):
    outcome, sweeps = None, next(swept[0].glob("all/sweeps/*"))
    run = folder_of(swept[0], 8)
    config = gate.typed(saved_settings(run) | {"run_dir": str(run.parent)}, TrainConfig)
    asked = ["rollout_len=8", *FEW]
    for name, value in (
        ("SUBMITIT_EXECUTOR", "slurm"),
        ("SLURM_JOB_ID", "1"),
        ("SLURM_JOB_NUM_NODES", "2"),
        ("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1"),
    ):
        monkeypatch.setenv(name, value)
    for seed, state in ((0, sweep.COMPLETE_BEFORE), (1, sweep.FAILED)):
        for rank in (1, 0):
            monkeypatch.setenv("SLURM_PROCID", str(rank))
            sweep.run_one("train", replace(config, seed=seed), asked, 7 + seed, sweeps)
            outcome = sweeps / f"{7 + seed:03d}.json"
            assert outcome.exists() == (rank == 0)
        assert json.loads(outcome.read_text())["state"] == state
        outcome.unlink()


def test_a_killed_sweep_ends_its_run_and_unlocks_the_run_folder(tmp_path):
    workers = ("execution.engine=process", "execution.teacher=process")
    process = start_sweep(tmp_path, *LONG, *workers)
    wait_until(lambda: list(tmp_path.glob("all/*/checkpoints/step-*")))
    [run] = [each for each in tmp_path.glob("all/*") if each.name != "sweeps"]
    # While the run is alive, no other process may write to its folder.
    for twice in ([f"resume={run}"], ["-m", *LONG, *workers]):
        done = esr("train", *twice, cwd=tmp_path)
        assert done.returncode == 2 and "another run is using it" in done.stderr, done.stderr
    process.kill()
    process.wait()
    # The run ends shortly after, and none of its workers keeps the lock.
    wait_until(lambda: is_unlocked(run), 20)


def is_unlocked(run):
    try:
        with run_folder.lock(run):
            return True
    except ConfigError:
        return False


def test_the_cluster_group_launches_each_run_as_a_separate_job(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    done = esr(
        "train", "-m", "+cluster=local", "+rollout_len=8,12", *FEW, "run_dir=all", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 runs" in done.stdout and done.stdout.count("  complete\n") == 2, done.stdout
    [folder] = (tmp_path / "all" / "sweeps").iterdir()
    outcomes = [json.loads(path.read_text()) for path in folder.glob("[0-9]*.json")]
    assert len({each["folder"] for each in outcomes}) == 2
    assert len(list((folder / ".submitit").glob("[0-9]*"))) == 2


def test_an_interrupted_sweep_of_launched_jobs_ends_them(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    process = start_sweep(tmp_path, "+cluster=local", *LONG)
    # Both runs: one that is still starting has nothing to save.
    saved = "all/*/checkpoints/step-*"
    wait_until(lambda: len({path.parent for path in tmp_path.glob(saved)}) == 2)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "the same command resumes the sweep" in errors, (
        out + errors
    )
    runs = [each for each in tmp_path.glob("all/*") if each.name != "sweeps"]
    assert len(runs) == 2 and all(is_unlocked(run) for run in runs)
    for run in runs:
        last = sorted(run.glob("checkpoints/*"))[-1]
        assert len(rows(run)) == int(last.name.removeprefix("step-"))


def test_a_broken_folder_fails_only_its_own_run(swept):
    folder, _ = swept
    summary = folder_of(folder, 8) / "summary.json"
    kept = summary.read_text()
    summary.write_text("{")
    done = esr("train", "-m", "+rollout_len=8,12", *FEW, "run_dir=all", cwd=folder)
    summary.write_text(kept)
    assert done.returncode == 1 and done.stderr == "", done.stderr
    assert "summary.json: is broken" in done.stdout.replace("\n", "") and "[2/2]" in done.stdout


def test_runs_that_vary_only_in_the_pair_have_separate_folders(swept):
    config = gate.typed(saved_settings(folder_of(swept[0], 8)), TrainConfig)
    names = {
        run_folder.in_sweep(config, [f"pair={pair}", "execution=inline"], ["pair", "seed"]).name
        for pair in ("lab", "own")
    }
    assert names == {"pair=lab", "pair=own"}


def test_other_commands_support_sweeps(tmp_path):
    done = esr("lab", "-m", "width=0,-1", "out=pair", cwd=tmp_path)
    assert done.returncode == 1 and "[2/2]" in done.stdout, done.stdout + done.stderr
    assert sweep.folder_for("eval", ["model=a,b"]).name == "eval-model=a,b"
