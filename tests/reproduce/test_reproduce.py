"""The paper's matrices compose; a reproduction is listed, killed, gone on with, and the same."""

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
from esr_cli.reproduce import command as reproduce
from esr_cli.reproduce import matrix

SCALES = ("lab", "paper")
# Four cells of the lab: full fine-tuning and LoRA, whole rollouts and 32 tokens.
FEW = (
    "scale=lab", "only=[table_full_finetuning]", "seeds=[0]", "out=all",
    "overrides=[steps=4,eval_every=2,save_every=1,limit=8,benchmark.lab.samples=1,prompts_per_step=4]",
)  # fmt: skip
ARMS = ("esr_32", "full", "lora_esr_32", "lora_full")


def cells_of(scale, **asked):
    chosen = matrix.read(conf_dir() / "experiment/paper" / f"{scale}.yaml")
    return matrix.cells(chosen, ReproduceConfig(scale=scale, **asked), Path("out"))


@pytest.mark.parametrize("scale", SCALES)
def test_every_cell_of_a_matrix_passes_the_gate_of_its_command(scale):
    """One seed of each: the others differ in a number."""
    seen = {cell.arm: cell for cell in cells_of(scale)}
    for cell in seen.values():
        schema = getattr(esr_cli.config, COMMANDS[cell.command][0])
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            tree = compose(cell.command, overrides=[_quoted(x) for x in cell.arguments])
        gate.read(tree, schema)


@pytest.mark.parametrize("scale", SCALES)
def test_cells_have_names_and_places_of_their_own_and_follow_what_they_need(scale):
    cells = cells_of(scale)
    assert len({cell.note for cell in cells}) == len(cells)
    trained = [cell.run for cell in cells if cell.command == "train"]
    assert len(set(trained)) == len(trained)
    done: set[str] = set()
    for cell in cells:
        assert done.issuperset(cell.needs), cell.id
        done.add(cell.id)


def test_quick_and_only_take_a_part_with_all_that_it_needs():
    everything = {cell.id for cell in cells_of("lab")}
    quick = {cell.id for cell in cells_of("lab", quick=True)}
    assert quick < everything and {cell.seed for cell in cells_of("lab", quick=True)} == {0, None}
    cascade = {cell.arm for cell in cells_of("lab", only=["fig_cascade"])}
    assert cascade == {"behaviour@esr_32", "behaviour@full", "esr_32", "full"}
    with pytest.raises(ConfigError, match=r"only=fig_cascad: no such.*fig_cascade"):
        cells_of("lab", only=["fig_cascad"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A reproduction with nothing in the way."""
    folder = tmp_path_factory.mktemp("whole")
    done = esr("reproduce", *FEW, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def run_of(folder, arm):
    return folder / "all" / "runs" / arm / "seed=0"


def claims(folder):
    """What the report says of each claim with its figures, but for seconds and memory."""
    text = (folder / "all" / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    told = ("shows", "does not show", "too noisy to say", "not measured")
    rows = [row for row in rows if not re.search("faster|memory", row)]
    return [row for row in rows if any(f"| {verdict} |" in row for verdict in told)]


def test_killed_and_started_again_it_ends_the_same(whole, tmp_path):
    unbroken, _ = whole
    process = launch("reproduce", *FEW, cwd=tmp_path)
    wait_for_step(run_of(tmp_path, "full"), 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run_of(tmp_path, "full") / "summary.json").exists()
    done = esr("reproduce", *FEW, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for arm in ARMS:
        same_end(run_of(unbroken, arm), run_of(tmp_path, arm))
    assert claims(tmp_path) == claims(unbroken) != []


def test_a_complete_one_runs_nothing_and_says_so(whole):
    folder, first = whole
    assert "4 cells, 0 complete" in first and "[4/4]" in first
    before = (run_of(folder, "full") / "metrics.jsonl").stat().st_mtime_ns
    again = esr("reproduce", *FEW, cwd=folder)
    assert again.returncode == 0 and "4 cells, 4 complete" in again.stdout
    assert (run_of(folder, "full") / "metrics.jsonl").stat().st_mtime_ns == before
    listed = esr("reproduce", *FEW, "list=true", cwd=folder).stdout
    assert "table_full_finetuning" in listed and listed.count("complete") >= 4


def test_other_settings_are_refused_before_anything_runs(whole):
    folder, _ = whole
    other = [text.replace("steps=4", "steps=5") for text in FEW]
    for asked in (other, [*other, "only=[table_per_step]"]):
        done = esr("reproduce", *asked, cwd=folder)
        assert done.returncode == 2, done.stdout
        assert "overrides=[steps=5,eval_every=2" in done.stderr, done.stderr
        assert "all was made with [steps=4," in done.stderr and "another out" in done.stderr


def test_a_smaller_card_leaves_out_what_does_not_fit_with_what_is_measured_on_it():
    cells = cells_of("paper")
    assert matrix.too_large(cells, 1000) == []
    left = {cell.arm for cell in matrix.too_large(cells, 44)}
    assert {"moe_full", "tuned_code_full", "collapse@tuned_code_full"} <= left
    assert not {"math_full", "collapse@x16_full", "teacher_qwen3_14b"} & left


def test_seeds_take_the_place_of_every_cells_own_and_leave_nothing_that_another_needs():
    seeds = {cell.seed for cell in cells_of("paper", seeds=[3, 4])}
    assert seeds == {None, 3, 4}
    looked = {cell.seed for cell in cells_of("paper", seeds=[3, 4]) if "samples" in cell.arm}
    assert looked == {3}
    with pytest.raises(ConfigError, match=r"quick=true: nothing of table_scaling"):
        cells_of("paper", quick=True, only=["table_scaling"])


def test_a_run_that_was_removed_is_to_be_had_again(tmp_path):
    chosen = matrix.read(conf_dir() / "experiment/paper/lab.yaml")
    run = next(c for c in matrix.cells(chosen, ReproduceConfig(), tmp_path) if c.run)
    run.note.parent.mkdir(parents=True)
    run.note.write_text(json.dumps({"asked": run.asked, "state": "complete"}))
    assert not run.complete
    run.run.mkdir(parents=True)
    (run.run / "summary.json").write_text("{}")
    assert run.complete


def test_braces_in_overrides_and_odd_folders_reach_hydra_as_they_are(tmp_path):
    odd = tmp_path / "it's (a), ü=1"
    chosen = matrix.read(conf_dir() / "experiment/paper/lab.yaml")
    asked = ReproduceConfig(overrides=["task.instruction={question}"], data_dir=str(odd))
    cells = {cell.id: cell for cell in matrix.cells(chosen, asked, odd)}
    assert "task.instruction={question}" in cells["full/seed=0"].arguments
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        given = [_quoted(each) for each in cells["second_student"].arguments]
        assert compose("lab", overrides=given).out == str(odd / "pairs/second")
        given = [_quoted(each) for each in cells["behaviour@full/seed=0"].arguments]
        tree = compose("probe", overrides=given)
        assert (tree.run, tree.data_dir) == (str(odd / "runs/full/seed=0"), str(odd))


def test_a_cell_that_fails_stops_no_other(tmp_path):
    # An override that only the LoRA cells cannot take would be refused by the gate; a file cannot.
    (tmp_path / "all/runs/lora_full").mkdir(parents=True)
    (tmp_path / "all/runs/lora_full/seed=0").write_text("in the way")
    done = esr("reproduce", *FEW, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "1 of 4 cells failed (lora_full/seed=0)" in done.stderr
    note = json.loads((tmp_path / "all/cells/lora_full,seed=0.json").read_text())
    assert note["state"] == "failed" and "run_dir=" in note["reason"]
    assert (run_of(tmp_path, "full") / "summary.json").is_file()
    assert (tmp_path / "all" / "report.html").is_file()


def test_what_all_cells_lack_stops_them_early(tmp_path):
    lacking = [text.replace("steps=4", "pair.student.path=/nowhere") for text in FEW]
    done = esr("reproduce", *lacking, "jobs=1", cwd=tmp_path)
    assert done.returncode == 1 and "3 of 4 cells failed" in done.stderr, done.stderr
    assert "the first 3 cells failed for one reason" in done.stdout
    assert done.stdout.count("pair.student.path=/nowhere") == 3, done.stdout
    assert len(list((tmp_path / "all/cells").glob("*.json"))) == 3
    assert not (tmp_path / "all/report.html").exists()


def test_cells_that_fail_alike_leave_the_others_where_one_succeeded():
    runner = reproduce.Runner(cells_of("lab"), 1, None)
    runner._reasons = ["", *["gated"] * 9]
    assert not runner._hopeless
    runner._reasons = ["gated"] * 3
    assert runner._hopeless
