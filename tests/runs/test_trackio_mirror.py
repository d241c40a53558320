"""The database of a run in trackio, read back with trackio's own reader and as SQLite."""

from __future__ import annotations

import json
import sqlite3
import uuid
from pathlib import Path

import pytest
from conftest import rows
from mirrored_runs import offline, once_each, start

from esr_cli.runs.tracking import Tracker


def query(database, sql):
    """All rows of a query, as mappings."""
    with sqlite3.connect(database) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def logged(database):
    """Steps and figures of the only run in a project."""
    found = query(database, "SELECT run_id, step, metrics FROM metrics ORDER BY id")
    assert len({row["run_id"] for row in found}) == 1
    return [(row["step"], json.loads(row["metrics"])) for row in found]


@pytest.fixture(scope="module")
def database(unbroken):
    return unbroken.parent / "trackio" / "esr.db"


def test_every_metric_of_every_step_is_in_the_database(database, unbroken):
    by_step = {}
    for step, figures in logged(database):
        by_step.setdefault(step, {}).update(figures)
    for row in rows(unbroken):
        step = row.pop("step")
        assert {key: by_step[step][key] for key in row} == row
    evals = rows(unbroken, "eval.jsonl")
    for row in evals:
        assert by_step[row["step"]][f"eval/lab/{row['metric']}"] == row["value"]
    best = max((row for row in evals if row["metric"] == "avg@1"), key=lambda row: row["value"])
    assert by_step[best["step"]]["best/lab/avg@1"] == best["value"]
    assert by_step[best["step"]]["best/lab/avg@1/step"] == best["step"]
    [cell] = [each["samples"] for step, each in logged(database) if step == 0 and "samples" in each]
    written = [row for row in rows(unbroken, "samples.jsonl") if row["step"] == 0]
    assert [row["response"] for row in cell["_value"]] == [row["response"] for row in written]


def test_name_settings_command_and_student_are_in_the_database(database, unbroken):
    [row] = query(database, "SELECT * FROM configs")
    config = json.loads(row["config"])
    assert row["run_name"] == "lab N=8 s0" and config["rollout"]["max_tokens"] == 8
    assert {"pair=lab", "N=8", "tune=full"} <= set(config["tags"])
    assert {"step": 0, **config["environment"]} == rows(unbroken, "environment.jsonl")[0]
    assert row["run_id"] == (unbroken / "trackio_id").read_text().strip()
    [kept] = query(database, "SELECT a.type, v.size_bytes FROM artifacts a "
                             "JOIN artifact_versions v ON v.artifact_id = a.id")  # fmt: skip
    sizes = [path.stat().st_size for path in (unbroken / "student").iterdir()]
    assert (kept["type"], kept["size_bytes"]) == ("model", sum(sizes))
    plots = {path.stem for path in (unbroken / "plots").glob("*.png")}
    shown = {key: each for _, figures in logged(database) for key, each in figures.items()}
    for name in plots:
        picture = database.parent / "media" / shown[f"plots/{name}"]["file_path"]
        assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def project():
    """A project of its own, whose database the process's folder of trackio holds."""
    import trackio

    name = f"test-{uuid.uuid4().hex}"
    yield name, Path(trackio.utils.TRACKIO_DIR) / f"{name}.db"
    trackio.delete_project(name, force=True)


def test_a_run_stopped_and_resumed_twice_is_one_run_with_each_step_once(tmp_path, project):
    name, database = project
    settings = offline("trackio", project=name, name="lab N=8 s0", group="a sweep")
    start(tmp_path, settings, 1, 6, evaluated=(2, 4))
    start(tmp_path, settings, 5, 9, evaluated=(6,))
    start(tmp_path, settings, 8, 10)
    found = logged(database)
    losses = once_each([(step, each["train/loss"]) for step, each in found if "train/loss" in each])
    assert losses == {step: 1 / step for step in range(1, 11)}
    assert [step for step, each in found if "eval/lab/avg@4" in each] == [2, 4, 6]
    assert [step for step, each in found if "samples" in each] == [2, 4, 6]
    [config] = query(database, "SELECT * FROM configs")
    assert json.loads(config["config"])["_Group"] == "a sweep"
    assert config["run_name"] == "lab N=8 s0"


def test_another_run_of_the_same_name_is_left_alone(tmp_path, project):
    name, database = project
    settings = offline("trackio", project=name, name="lab N=8 s0")
    for folder in (tmp_path / "a", tmp_path / "b", tmp_path / "a"):
        folder.mkdir(exist_ok=True)
        start(folder, settings, 1, 2)
    found = query(database, "SELECT run_id, COUNT(*) AS steps FROM metrics GROUP BY run_id")
    ids = {(tmp_path / name / "trackio_id").read_text().strip() for name in "ab"}
    assert {row["run_id"]: row["steps"] for row in found} == dict.fromkeys(ids, 2)


def test_an_alarm_is_an_alert_of_trackio_and_only_our_own_line_is_printed(
    tmp_path, project, capsys
):
    name, database = project
    with Tracker(
        tmp_path, {}, offline("trackio", project=name, name="a"), total_steps=1
    ) as tracker:
        tracker.open_mirror()
        tracker.log(3, {"train/loss": 1.0})
        tracker.alarm("90% of the responses repeat themselves; lower the rate")
    [alert] = query(database, "SELECT title, level, step FROM alerts")
    assert alert == {
        "title": "90% of the responses repeat themselves", "level": "warn", "step": 3,
    }  # fmt: skip
    shown = capsys.readouterr()
    assert f"trackio: trackio show --project {name}" in shown.out.splitlines()
    assert len(shown.out.splitlines()) == 3 and shown.err == ""
