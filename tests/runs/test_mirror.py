"""The W&B file of an offline run, read back and compared with the run's own files."""

from __future__ import annotations

import json

import pytest
import wandb_log
from conftest import esr, rows
from mirrored_runs import offline, start
from wandb_log import of, values

from esr_cli.config import TrackingConfig, gate
from esr_cli.runs.tracking import Tracker


@pytest.fixture(scope="module")
def mirrored(unbroken):
    """The W&B records of thirty steps of the lab pair."""
    [file] = wandb_log.files(unbroken)
    return file, wandb_log.finished(file)


def test_every_metric_of_every_step_is_there(mirrored, unbroken):
    history = [values(each.item) for each in of(mirrored[1], "history")]
    by_step = {}
    for row in history:
        by_step.setdefault(row["step"], {}).update(row)
    for row in rows(unbroken):
        logged = by_step[row["step"]]
        assert {key: logged[key] for key in row} == row
    for row in rows(unbroken, "eval.jsonl"):
        assert by_step[row["step"]][f"eval/lab/{row['metric']}"] == row["value"]
    axis = {each.name or each.glob_name: each.step_metric for each in of(mirrored[1], "metric")}
    assert axis["*"] == "step"


def test_configuration_and_project_are_there(mirrored, unbroken):
    [run] = of(mirrored[1], "run")
    config = values(run.config.update)
    saved = gate.read_yaml(unbroken / "config.yaml")
    del saved["config_hash"]
    assert {key: config[key] for key in saved} == saved
    assert run.project == "esr" and run.display_name == "lab N=8 s0" and run.job_type == "train"
    assert {"pair=lab", "rollout=eager", "tune=full", "loss=reverse_kl", "N=8"} <= set(run.tags)
    assert run.run_id == (unbroken / "wandb_id").read_text().strip()


def test_figures_samples_and_the_outcome_are_there(mirrored, unbroken):
    file, found = mirrored
    media = file.parent / "files" / "media"
    pictures = {path.stem for path in (unbroken / "plots").glob("*.png")}
    sent = [path.name for path in media.glob("images/plots/*.png")]
    assert all(any(name.startswith(picture) for name in sent) for picture in pictures) and sent
    tables = [json.loads(path.read_text()) for path in media.glob("table/*.table.json")]
    responses = {row[table["columns"].index("response")] for table in tables
                 for row in table["data"]}  # fmt: skip
    assert responses == {row["response"] for row in rows(unbroken, "samples.jsonl")}
    outcome = {}
    for each in of(found, "summary"):
        outcome |= values(each.update)
    summary = json.loads((unbroken / "summary.json").read_text())
    assert outcome["after/lab/avg@1"] == summary["after"]["lab"]["value"]
    assert outcome["median/time/step_s"] == summary["median"]["time/step_s"]


def test_the_best_accuracy_and_its_step_are_there(mirrored, unbroken):
    outcome = {}
    for each in of(mirrored[1], "summary"):
        outcome |= values(each.update)
    found = [row for row in rows(unbroken, "eval.jsonl") if row["metric"] == "avg@1"]
    best = max(found, key=lambda row: row["value"])
    assert outcome["best/lab/avg@1"] == best["value"]
    assert outcome["best/lab/avg@1/step"] == best["step"]


def test_command_commit_and_environment_are_there(mirrored, unbroken):
    [run] = of(mirrored[1], "run")
    found = values(run.config.update)["environment"]
    assert found["command"].startswith("esr train rollout=eager ") and "torch" in found["versions"]
    assert len(found["commit"].removesuffix("-dirty")) == 40
    assert {"step": 0, **found} == rows(unbroken, "environment.jsonl")[0]
    about = of(mirrored[1], "environment")
    assert any("steps=30" in each.args for each in about) and any(each.cpu_count for each in about)
    assert of(mirrored[1], "stats")
    assert "torch==" in (mirrored[0].parent / "files" / "requirements.txt").read_text()


def test_the_student_is_a_model_artifact(mirrored, unbroken):
    [artifact] = [each for each in of(mirrored[1], "artifact") if each.type == "model"]
    sent = {each.local_path: each.size for each in artifact.manifest.contents}
    folder = unbroken / "student"
    assert artifact.name == f"student-{(unbroken / 'wandb_id').read_text().strip()}"
    assert sent == {str(path): path.stat().st_size for path in folder.iterdir()}


def test_an_alarm_is_sent_as_an_alert(tmp_path):
    with Tracker(tmp_path, {}, TrackingConfig("offline"), total_steps=1) as tracker:
        tracker.open_mirror()
        tracker.alarm("90% of the responses repeat themselves; lower the rate")
    [file] = wandb_log.files(tmp_path)
    [alert] = of(wandb_log.finished(file), "alert")
    assert alert.level == "WARN" and alert.title == "90% of the responses repeat themselves"
    assert "warning: 90%" in (tmp_path / "esr.log").read_text()


def test_settings_name_project_group_and_tags(tmp_path):
    named = {"project": "mine", "group": "a sweep", "name": "my run", "tags": ["extra"]}
    start(tmp_path, offline("wandb", **named), 1, 1)
    [file] = wandb_log.files(tmp_path)
    [run] = of(wandb_log.finished(file), "run")
    assert (run.project, run.run_group, run.display_name) == ("mine", "a sweep", "my run")
    assert set(run.tags) == {"extra"}


def test_wandb_s_own_variables_are_defaults_and_settings_win(tmp_path):
    few = ("+rollout_len=8", "steps=1", "limit=2", "prompts_per_step=2")
    inline = ("rollout=eager", "execution=inline")
    env = {"WANDB_PROJECT": "from-the-shell", "WANDB_MODE": "online", "WANDB_RUN_GROUP": "hers"}
    typed = ("tracking.mode=offline", "tracking.group=mine", "run_dir=run")
    done = esr("train", *few, *inline, *typed, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [file] = wandb_log.files(tmp_path / "run")
    [run] = of(wandb_log.finished(file), "run")
    assert (run.project, run.run_group) == ("from-the-shell", "mine")
