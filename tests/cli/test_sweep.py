"""Sweeps as a user types them: a process a run, one that fails, again, cut off, and launched."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest
from conftest import SHORT, esr, launch, rows, same_end

from esr_cli.cli import sweep
from esr_cli.config import ConfigError, TrainConfig, gate
from esr_cli.execution import jobs
from esr_cli.runs import folder as run_folder

FEW = (*SHORT[1:], "rollout=eager", "tracking=none", "steps=2")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Three runs, one of which is made to fail."""
    folder = tmp_path_factory.mktemp("sweep")
    done = esr("train", "-m", "+rollout_len=8,0,12", *FEW, "run_dir=all", cwd=folder)
    return folder, done


def folder_of(above, length):
    [found] = [each for each in above.glob("all/*") if f"rollout_len={length}," in f"{each.name},"
               and each.name != "sweeps"]  # fmt: skip
    return found


def test_one_that_fails_stops_no_other_and_its_reason_is_told(swept):
    folder, done = swept
    assert done.returncode == 1, done.stdout + done.stderr
    for length in (8, 12):
        assert (folder_of(folder, length) / "summary.json").is_file()
        line = next(x for x in done.stdout.splitlines() if f"  rollout_len={length}  " in x)
        assert " -> " in line and line.endswith("  complete"), line
    assert "[2/3]  rollout_len=0  failed: rollout_len=0: give a positive number" in done.stdout
    # Hydra's own folders and files stay below the sweep's.
    assert {each.name for each in folder.iterdir()} == {"all"}


def test_the_same_sweep_again_skips_what_is_complete_and_goes_on_with_what_is_not(swept):
    folder, _ = swept
    whole, cut = folder_of(folder, 8), folder_of(folder, 12)
    before = rows(cut)
    (cut / "summary.json").unlink()
    touched = (whole / "summary.json").stat().st_mtime_ns
    done = esr("train", "-m", "+rollout_len=8,12", *FEW, "run_dir=all", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert any("rollout_len=8  " in line and "complete before" in line for line in lines)
    assert (whole / "summary.json").stat().st_mtime_ns == touched
    assert (cut / "summary.json").is_file()
    # It went on from the checkpoint, which stood at the end: no step was taken anew.
    assert rows(cut) == before


def test_a_run_of_the_sweep_is_the_run_typed_alone(swept):
    folder, _ = swept
    done = esr("train", "+rollout_len=8", *FEW, "run_dir=alone", cwd=folder)
    assert done.returncode == 0, done.stderr
    same_end(folder / "alone", folder_of(folder, 8))


def test_other_settings_in_a_complete_folder_are_a_failure_not_a_skip(swept, tmp_path):
    folder, _ = swept
    run = folder_of(folder, 8)
    saved = run_folder.saved_config(run)
    config = gate.typed(saved, TrainConfig)
    assert run_folder.difference(run, config) == ""
    saved["tune"]["learning_rate"] = 1.0
    told = run_folder.difference(run, gate.typed(saved, TrainConfig))
    assert "tune.learning_rate=0.0002, not 1.0" in told


def test_a_mistake_in_all_of_a_sweep_is_one_line_and_status_2(tmp_path):
    for arguments, says in (
        (["-m", "seed=0,1", "+rollout_len=0"], "rollout_len=0: give a positive number"),
        (["-m", "seed=0,1", "stepss=3"], "stepss"),
        (["-m", "+sweep=lengthss"], "sweep=lengthss: no such option; there are lengths, selectors"),
    ):
        done = esr("train", *arguments, *FEW[1:], cwd=tmp_path)
        assert done.returncode == 2 and done.stdout == "", done.stdout
        assert says in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not list(tmp_path.glob("runs/sweeps/*"))


def test_a_named_sweep_knows_its_runs_and_a_key_given_replaces_its_values():
    from esr_cli.cli.main import _counts

    assert _counts(["+sweep=lengths"]) == {"+sweep": 1, "rollout_len": 5, "seed": 3}
    assert _counts(["+sweep=lengths", "seed=4"])["seed"] == 1


def test_jobs_say_why_they_ended(tmp_path):
    log = tmp_path / "log"
    ended = jobs.run("train", ["+rollout_len=0"], log)
    assert ended.status == 2 and ended.reason.startswith("rollout_len=0: give"), ended
    ended = jobs.run("--help", [], log)
    assert ended.status == 0 and ended.reason == "" and "usage: esr" in log.read_text()
    traceback = "the engine failed in generate:\nTraceback\nValueError: odd"
    text = f"x\nesr: {traceback}\ngo on with: esr train resume=x"
    assert jobs._reason(text, 1) == "the engine failed in generate: ValueError: odd"
    assert jobs._reason("warning: x\nTraceback\nMemoryError: y\n", 1) == "MemoryError: y"
    assert jobs._reason("", -9) == "killed by SIGKILL"


def begin(folder, *arguments):
    return launch("train", "-m", *arguments, cwd=folder, stdout=subprocess.PIPE)


def until(holds, seconds=120):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


LONG = ("+rollout_len=8", "seed=0,1", *FEW[:-1], "steps=400", "run_dir=all")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_saves_its_run_and_begins_no_other(number, tmp_path):
    process = begin(tmp_path, *LONG)
    until(lambda: list(tmp_path.glob("all/*/checkpoints/step-*")))
    process.send_signal(number)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "the same command goes on" in errors, out + errors
    [run] = [each for each in tmp_path.glob("all/*") if each.name != "sweeps"]
    last = sorted(run.glob("checkpoints/*"))[-1]
    assert len(rows(run)) == int(last.name.removeprefix("step-"))


def test_a_killed_sweep_takes_its_run_along_and_frees_its_folder(tmp_path):
    process = begin(tmp_path, *LONG)
    until(lambda: list(tmp_path.glob("all/*/checkpoints/step-*")))
    [run] = [each for each in tmp_path.glob("all/*") if each.name != "sweeps"]
    # While it runs nobody else may write there.
    for twice in ([f"resume={run}"], ["-m", *LONG]):
        done = esr("train", *twice, cwd=tmp_path)
        assert done.returncode == 2 and "another run is at work in it" in done.stderr, done.stderr
    process.kill()
    process.wait()
    # Its run goes with it, a moment later, and no worker of that one keeps the folder.
    until(lambda: free(run), 20)


def free(run):
    try:
        with run_folder.lock(run):
            return True
    except ConfigError:
        return False


def test_the_cluster_overlay_launches_each_run_as_a_job_of_its_own(tmp_path):
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
    process = begin(tmp_path, "+cluster=local", *LONG)
    until(lambda: list(tmp_path.glob("all/*/checkpoints/step-*")))
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "the same command goes on" in errors, out + errors
    runs = [each for each in tmp_path.glob("all/*") if each.name != "sweeps"]
    assert len(runs) == 2 and all(free(run) for run in runs)
    for run in runs:
        last = sorted(run.glob("checkpoints/*"))[-1]
        assert len(rows(run)) == int(last.name.removeprefix("step-"))


def test_a_broken_folder_fails_its_run_alone(swept):
    folder, _ = swept
    summary = folder_of(folder, 8) / "summary.json"
    kept = summary.read_text()
    summary.write_text("{")
    done = esr("train", "-m", "+rollout_len=8,12", *FEW, "run_dir=all", cwd=folder)
    summary.write_text(kept)
    assert done.returncode == 1 and done.stderr == "", done.stderr
    assert "summary.json: is broken" in done.stdout.replace("\n", "") and "[2/2]" in done.stdout


def test_runs_that_differ_in_what_names_no_folder_have_folders_of_their_own(swept):
    config = gate.typed(run_folder.saved_config(folder_of(swept[0], 8)), TrainConfig)
    names = {
        run_folder.in_sweep(config, [f"pair={pair}", "execution=inline"], ["pair", "seed"]).name
        for pair in ("lab", "own")
    }
    assert names == {"pair=lab", "pair=own"}


def test_a_long_name_is_cut_where_it_tells_runs_apart_least():
    path = "pair.student.path=" + "x" * 200
    names = [
        run_folder.name_of([path, f"zz_seed={n}", "steps=3"], varied=["zz_seed"]) for n in (0, 1)
    ]
    assert [name.split(",")[0] for name in names] == ["zz_seed=0", "zz_seed=1"]
    assert all("steps=3" in name and len(name) < 140 for name in names)


def test_another_command_sweeps_too(tmp_path):
    done = esr("lab", "-m", "width=0,-1", "out=pair", cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert sweep.folder_for("eval", ["model=a,b"]).name == "eval-model=a,b"
