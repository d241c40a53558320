"""The paper's matrices compose; a killed reproduction resumes and ends with the same results."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
from conftest import esr, launch, same_end, wait_for_step
from hydra import compose, initialize_config_dir

import esr_cli.config
from esr_cli.base.files import conf_dir
from esr_cli.cli.main import COMMANDS, _quoted
from esr_cli.config import ConfigError, ReproduceConfig, gate
from esr_cli.report.verdicts import VERDICTS
from esr_cli.reproduce import command as reproduce
from esr_cli.reproduce import matrix

SCALES = ("lab", "paper", "audit")
# Four cells of the lab: full fine-tuning and LoRA, full rollouts and 32 tokens.
FOUR_CELLS = (
    "scale=lab", "only=[table_full_finetuning]", "seeds=[0]", "out=all",
    "overrides=[steps=4,eval_every=2,save_every=1,limit=8,benchmark.lab.samples=1,prompts_per_step=4,"
    "execution=inline]",
)  # fmt: skip
CONFIGURATIONS = ("esr_32", "full", "lora_esr_32", "lora_full")


def cells_of(scale, **settings):
    chosen = matrix.read(conf_dir() / "experiment/paper" / f"{scale}.yaml")
    return matrix.cells(chosen, ReproduceConfig(scale=scale, **settings), Path("out"))


@pytest.mark.parametrize("scale", SCALES)
def test_every_cell_composes_a_valid_configuration_of_its_command(scale):
    """One seed of each configuration; the others differ only in the seed."""
    distinct = {cell.configuration: cell for cell in cells_of(scale)}
    for cell in distinct.values():
        schema = getattr(esr_cli.config, COMMANDS[cell.command][0])
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            tree = compose(cell.command, overrides=[_quoted(x) for x in cell.arguments])
        gate.read(tree, schema)


@pytest.mark.parametrize("scale", SCALES)
def test_cells_have_unique_files_and_come_after_the_cells_they_need(scale):
    cells = cells_of(scale)
    assert len({cell.record_file for cell in cells}) == len(cells)
    trained = [cell.run for cell in cells if cell.command == "train"]
    assert len(set(trained)) == len(trained)
    done: set[str] = set()
    for cell in cells:
        assert done.issuperset(cell.needs), cell.id
        done.add(cell.id)


def test_quick_and_only_select_cells_with_all_that_they_need():
    everything = {cell.id for cell in cells_of("lab")}
    quick = {cell.id for cell in cells_of("lab", quick=True)}
    assert quick < everything and {cell.seed for cell in cells_of("lab", quick=True)} == {0, None}
    cascade = {cell.configuration for cell in cells_of("lab", only=["fig_cascade"])}
    assert cascade == {"behaviour@esr_32", "behaviour@full", "esr_32", "full"}
    with pytest.raises(ConfigError, match=r"only=fig_cascad: no such.*fig_cascade"):
        cells_of("lab", only=["fig_cascad"])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A reproduction that ran without interruption: its folder and its output."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = esr("reproduce", *FOUR_CELLS, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def run_of(folder, configuration):
    return folder / "all" / "runs" / configuration / "seed=0"


def claims(folder):
    """The claims and figures of the report, without rows of seconds and memory."""
    text = (folder / "all" / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    rows = [row for row in rows if not re.search("faster|memory", row)]
    return [row for row in rows if any(f"| {verdict} |" in row for verdict in VERDICTS)]


def test_a_killed_reproduction_resumes_to_the_same_results(uninterrupted, tmp_path):
    reference, _ = uninterrupted
    process = launch("reproduce", *FOUR_CELLS, cwd=tmp_path)
    wait_for_step(run_of(tmp_path, "full"), 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run_of(tmp_path, "full") / "summary.json").exists()
    done = esr("reproduce", *FOUR_CELLS, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in CONFIGURATIONS:
        same_end(run_of(reference, name), run_of(tmp_path, name))
    assert claims(tmp_path) == claims(reference) != []


def test_a_complete_reproduction_runs_nothing(uninterrupted):
    folder, first = uninterrupted
    assert "4 cells, 0 complete" in first and "[4/4]" in first
    before = (run_of(folder, "full") / "metrics.jsonl").stat().st_mtime_ns
    again = esr("reproduce", *FOUR_CELLS, cwd=folder)
    assert again.returncode == 0 and "4 cells, 4 complete" in again.stdout
    assert (run_of(folder, "full") / "metrics.jsonl").stat().st_mtime_ns == before
    listed = esr("reproduce", *FOUR_CELLS, "list=true", cwd=folder).stdout
    assert "table_full_finetuning" in listed and listed.count("complete") >= 4


def test_other_settings_are_refused_before_anything_runs(uninterrupted):
    folder, _ = uninterrupted
    changed = [text.replace("steps=4", "steps=5") for text in FOUR_CELLS]
    for overrides in (changed, [*changed, "only=[table_per_step]"]):
        done = esr("reproduce", *overrides, cwd=folder)
        assert done.returncode == 2, done.stdout
        assert "overrides=[steps=5,eval_every=2" in done.stderr, done.stderr
        assert "all was made with [steps=4," in done.stderr and "another out" in done.stderr


def test_a_smaller_gpu_excludes_large_cells_and_their_measurements():
    cells = cells_of("paper")
    assert matrix.too_large(cells, 1000) == []
    excluded = {cell.configuration for cell in matrix.too_large(cells, 44)}
    assert {"moe_full", "tuned_code_full", "collapse@tuned_code_full"} <= excluded
    assert not {"math_full", "collapse@x16_full", "teacher_qwen3_14b"} & excluded


def test_seeds_replace_those_of_every_cell_and_keep_needed_cells():
    seeds = {cell.seed for cell in cells_of("paper", seeds=[3, 4])}
    assert seeds == {None, 3, 4}
    sampled = {
        cell.seed for cell in cells_of("paper", seeds=[3, 4]) if "samples" in cell.configuration
    }
    assert sampled == {3}
    with pytest.raises(ConfigError, match=r"quick=true: nothing of table_scaling"):
        cells_of("paper", quick=True, only=["table_scaling"])


def test_a_cell_whose_run_was_removed_is_incomplete(tmp_path):
    chosen = matrix.read(conf_dir() / "experiment/paper/lab.yaml")
    cell = next(c for c in matrix.cells(chosen, ReproduceConfig(), tmp_path) if c.run)
    cell.record_file.parent.mkdir(parents=True)
    cell.record_file.write_text(json.dumps({"asked": cell.settings_hash, "state": "complete"}))
    assert not cell.complete
    cell.run.mkdir(parents=True)
    (cell.run / "summary.json").write_text("{}")
    assert cell.complete


def test_braces_in_overrides_and_special_characters_in_paths_reach_hydra_unchanged(tmp_path):
    odd = tmp_path / "it's (a), ü=1"
    chosen = matrix.read(conf_dir() / "experiment/paper/lab.yaml")
    config = ReproduceConfig(overrides=["task.instruction={question}"], data_dir=str(odd))
    cells = {cell.id: cell for cell in matrix.cells(chosen, config, odd)}
    assert "task.instruction={question}" in cells["full/seed=0"].arguments
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        overrides = [_quoted(each) for each in cells["second_student"].arguments]
        assert compose("lab", overrides=overrides).out == str(odd / "pairs/second")
        overrides = [_quoted(each) for each in cells["behaviour@full/seed=0"].arguments]
        tree = compose("probe", overrides=overrides)
        assert (tree.run, tree.data_dir) == (str(odd / "runs/full/seed=0"), str(odd))


def test_a_failing_cell_does_not_stop_the_others(tmp_path):
    # A bad override would be refused before any cell runs; a file in place of a folder is not.
    (tmp_path / "all/runs/lora_full").mkdir(parents=True)
    (tmp_path / "all/runs/lora_full/seed=0").write_text("in the way")
    done = esr("reproduce", *FOUR_CELLS, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "1 of 4 cells failed (lora_full/seed=0)" in done.stderr
    record = json.loads((tmp_path / "all/cells/lora_full,seed=0.json").read_text())
    assert record["state"] == "failed" and "run_dir=" in record["reason"]
    assert (run_of(tmp_path, "full") / "summary.json").is_file()
    assert (tmp_path / "all" / "report.html").is_file()


def test_the_same_failure_of_the_first_cells_skips_the_others(tmp_path):
    invalid = [text.replace("steps=4", "pair.student.path=/nowhere") for text in FOUR_CELLS]
    done = esr("reproduce", *invalid, "jobs=1", cwd=tmp_path)
    assert done.returncode == 1 and "3 of 4 cells failed" in done.stderr, done.stderr
    assert "the first 3 cells failed for the same reason" in done.stdout
    assert done.stdout.count("pair.student.path=/nowhere") == 3, done.stdout
    assert len(list((tmp_path / "all/cells").glob("*.json"))) == 3
    assert not (tmp_path / "all/report.html").exists()


def test_equal_failures_skip_the_others_only_if_no_cell_succeeded():
    runner = reproduce.Runner(cells_of("lab"), 1, None)
    runner._reasons = ["", *["gated"] * 9]
    assert not runner._hopeless
    runner._reasons = ["gated"] * 3
    assert runner._hopeless
