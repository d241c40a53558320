"""What the folder of a run from a stranger may decide, and what only the command line may."""

from __future__ import annotations

import os
import re

import pytest
from hydra import compose, initialize_config_dir
from run_folders import settings, write_run

from esr_cli.base.files import append_rows, conf_dir
from esr_cli.config import ConfigError, EvalConfig, TrackingConfig, TrainConfig, gate
from esr_cli.runs import folder as run_folder
from esr_cli.runs import lines, saved
from esr_cli.runs.tracking import Tracker
from esr_cli.train import outcome, resuming

TRUST = "pair.student.trust_remote_code"


@pytest.fixture
def run(tmp_path):
    run = write_run(tmp_path / "run", "+rollout_len=8", right={0: [[1]], 1: [[1]]})
    (run / "checkpoints" / "step-000001").mkdir(parents=True)
    run_folder._write_config(run, gate.read_yaml(run / "config.yaml"))
    return run


def change(run, **values) -> None:
    plain = gate.read_yaml(run / "config.yaml")
    for key, value in values.items():
        saved.set_at(plain, key.replace("__", "."), value)
    gate.write_yaml(plain, run / "config.yaml")


def resumed(run, *overrides) -> TrainConfig:
    typed = [f"resume={run}", *overrides]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = gate.read(compose("train", overrides=typed), TrainConfig)
    return run_folder.reopen(config, typed)


def test_a_file_that_was_edited_is_used_and_named(run, capsys):
    resumed(run)
    assert "edited" not in capsys.readouterr().out
    change(run, save_every=7)
    assert resumed(run).save_every == 7
    assert f"warning: {run}/config.yaml: was edited" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "engine", "sequences"),
    [
        ((), "eager", 7),
        (("rollout.max_sequences=9",), "eager", 9),
        (("rollout=vllm",), "vllm", 128),
        (("rollout.engine=vllm",), "vllm", 7),
    ],
)
def test_engine_and_data_of_an_evaluation_are_those_of_its_run_unless_typed(
    typed, engine, sequences, run
):
    change(run, rollout__engine="eager", rollout__max_sequences=7, data_dir="rows")
    overrides = [f"run={run}", *typed]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = gate.read(compose("eval", overrides=overrides), EvalConfig)
    found = saved.for_eval(config, overrides)
    assert (found.rollout.engine, found.rollout.max_sequences) == (engine, sequences)
    assert found.data_dir == "rows"


def test_commands_after_a_run_hold_what_must_be_typed(run):
    change(run, sandbox="none", pair__student__trust_remote_code=True)
    config = gate.typed(saved.settings(run), TrainConfig)
    lines = outcome._next(config, run, ["lab"]).splitlines()
    assert lines[2].endswith(f"probe=all {TRUST}=true sandbox=none")
    assert lines[3].endswith("checkpoints=all trust_remote_code=true sandbox=none")
    assert f"esr train resume={run} {TRUST}=true sandbox=none" in resuming.how_to(
        config, run, ValueError()
    )


def test_remote_code_is_trusted_only_if_it_is_typed(run):
    change(run, pair__student__trust_remote_code=True)
    with pytest.raises(ConfigError, match=rf"{TRUST}=true counts only if it is typed; add"):
        resumed(run)
    assert resumed(run, f"{TRUST}=true").pair.student.trust_remote_code
    change(run, pair__student__trust_remote_code=False)
    assert resumed(run, f"{TRUST}=true").pair.student.trust_remote_code
    typed = ["steps=3", f"{TRUST}=true", "+sandbox=none"]
    assert saved.typed_only(typed) == typed[1:]


def test_the_sandbox_is_that_of_the_command_line(run):
    change(run, sandbox="none")
    assert resumed(run).sandbox == "bubblewrap"
    assert resumed(run, "sandbox=none").sandbox == "none"


@pytest.mark.parametrize(
    "text", ["pair: null", "seed: x", "nosuch: 1", "pair: {student: {path: [1]}}", "steps: 1e400"]
)
def test_broken_settings_are_one_line_with_the_file(run, text):
    (run / "config.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        saved.settings(run)
    assert str(caught.value).startswith(f"{run}/config.yaml") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*run_folder.FILES, *run_folder.CUT_BACK])
def test_a_folder_in_the_place_of_a_file_is_named(name, tmp_path):
    (tmp_path / name).mkdir()
    with (
        pytest.raises(ConfigError, match=rf"run_dir=.*: {re.escape(name)} in it is a folder"),
        run_folder.lock(tmp_path),
    ):
        pass


@pytest.mark.parametrize("name", [*run_folder.FOLDERS, *run_folder.FILES, *run_folder.CUT_BACK])
def test_a_link_or_pipe_among_the_files_of_a_run_is_refused(tmp_path, name):
    folder, mine = tmp_path / "run", tmp_path / "mine"
    folder.mkdir()
    mine.write_text("mine")
    for make in (lambda: (folder / name).symlink_to(mine), lambda: os.mkfifo(folder / name)):
        make()
        with pytest.raises(ConfigError, match=rf"{name} in it is a (link|pipe)"):
            run_folder.lock(folder).__enter__()
        (folder / name).unlink()
    assert mine.read_text() == "mine"


def test_a_link_that_appears_later_is_not_followed(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "esr.log").symlink_to(mine)
    tracker = Tracker(tmp_path, settings(), TrackingConfig(mode="disabled"), 1)
    with pytest.raises(OSError):
        tracker.note("hello")
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("metrics.jsonl", {"step": None}, "step is missing"),
        ("metrics.jsonl", {"step": float("nan")}, "step=NaN is not a number"),
        ("metrics.jsonl", {"step": 10**400}, "is not a number"),
        ("eval.jsonl", {"step": 1, "benchmark": "lab"}, "metric is missing"),
        ("generations.jsonl", {"step": 1, "benchmark": "lab", "id": "q", "correct": []}, "list"),
        ("kl_by_position.jsonl", {"step": 1, "kl": 3}, "kl=3 is not a list"),
        ("kl_by_position.jsonl", {"step": 1, "kl": ["a"]}, "is not a list of numbers"),
        ("kl_by_position.jsonl", {"step": 1}, "kl is missing"),
        ("samples.jsonl", {"step": "1"}, 'step="1" is not a number'),
    ],
)  # fmt: skip
def test_a_row_that_could_not_be_used_is_named(run, name, row, reason):
    lines.check(run, 1)
    append_rows(run / name, [row])
    with pytest.raises(ConfigError, match=rf"run/{name} line \d+: .*{reason}"):
        lines.check(run, 1)


def test_rows_are_checked_on_resuming_and_later_ones_are_cut_anyway(run):
    append_rows(run / "eval.jsonl", [{"step": 2}])
    resumed(run)
    append_rows(run / "eval.jsonl", [{"step": 1}])
    with pytest.raises(ConfigError, match="benchmark is missing"):
        resumed(run)
