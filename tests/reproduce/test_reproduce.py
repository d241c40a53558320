"""The paper's matrices compose; a killed reproduction resumes and ends with the same results."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from conftest import esr, launch, same_end, wait_for_step
from hydra import compose, initialize_config_dir

import esr_cli.config
from esr_cli.base.files import conf_dir
from esr_cli.cli.main import COMMANDS
from esr_cli.cli.spelling import quoted
from esr_cli.config import ConfigError, ReproduceConfig, gate
from esr_cli.execution import jobs
from esr_cli.report.verdicts import VERDICTS
from esr_cli.reproduce import command as reproduce
from esr_cli.reproduce import matrix
from esr_cli.runs.settings import differing, flat

SCALES = ("lab", "real", "paper", "audit", "paper_audit", "mixture")
# Four cells that train the packaged pair in 16-bit weights: with and without masters, at two rates.
FOUR_CELLS = (
    "scale=audit", "only=[masters]", "seeds=[0]", "out=all",
    "overrides=[steps=4,eval_every=2,save_every=1,limit=8,benchmark.lab.max_tokens=64,"
    "prompts_per_step=4,execution=inline]",
)  # fmt: skip
CONFIGURATIONS = ("master_float32_5e5", "master_none_5e5", "master_float32_2e4", "master_none_2e4")
NONE = "master_none_5e5"


def cells_of(scale, **settings):
    chosen = matrix.read(conf_dir() / "experiment/paper" / f"{scale}.yaml")
    return matrix.cells(chosen, ReproduceConfig(scale=scale, **settings), Path("out"))


@pytest.mark.parametrize("scale", SCALES)
def test_every_cell_composes_a_valid_configuration_of_its_command(scale):
    """One seed of each configuration; the others differ only in the seed."""
    for cell in {cell.configuration: cell for cell in cells_of(scale)}.values():
        composed(cell)


def composed(cell):
    """The typed settings of a cell's command."""
    schema = getattr(esr_cli.config, COMMANDS[cell.command][0])
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        tree = compose(cell.command, overrides=[quoted(x) for x in cell.arguments])
    return gate.read(tree, schema)


def test_the_paper_audit_turns_each_suspect_alone():
    first = {cell.configuration: cell for cell in reversed(cells_of("paper_audit"))}
    settings = {
        name: flat(gate.as_plain(composed(cell)))
        for name, cell in first.items() if cell.command == "train"
    }  # fmt: skip
    base = settings["lora_full"]
    assert base["pair.max_response_tokens"] == 3584

    def turned(name, from_="lora_full"):
        return {key: settings[name][key] for key in differing(settings[from_], settings[name])}

    assert turned("lora_esr_100") == {"rollout.max_tokens": 100}
    assert turned("lora_full_ends_trained") == {"pair.train_ends": True}
    assert turned("lora_full_stop_at_both") == {"pair.stop": "both"}
    assert turned("lora_full_both") == {"pair.train_ends": True, "pair.stop": "both"}
    assert turned("tuned_full_float32_5e6", "tuned_full_none_5e6") == {"tune.master": "float32"}
    assert turned("tuned_full_none_5e5", "tuned_full_none_5e6") == {"tune.learning_rate": 5e-5}
    assert turned("tuned_esr_100_none_5e6", "tuned_full_none_5e6") == {"rollout.max_tokens": 100}
    assert settings["tuned_full_none_5e6"]["tune.learning_rate"] == 5e-6
    thinks = {name: each["pair.student.before_response"] for name, each in settings.items()}
    assert {name for name, text in thinks.items() if not text} == {"llama_esr_100", "llama_full"}
    seeds = Counter(cell.configuration for cell in cells_of("paper_audit"))
    assert (seeds["lora_esr_100"], seeds["lora_full"], seeds["lora_full_both"]) == (5, 5, 3)


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
    assert cascade == {"behaviour@esr_32", "behaviour@full", "esr_32", "full", "students"}
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
    """The claims of the report and the accuracies of its conditions, without seconds and memory."""
    text = (folder / "all" / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    rows = [row for row in rows if not re.search("faster|memory", row)]
    judged = [row for row in rows if any(f"| {verdict} |" in row for verdict in VERDICTS)]
    return judged + [row.split("|")[:6] for row in rows if row.startswith("| ESR N=32")]


def test_a_killed_reproduction_resumes_to_the_same_results(uninterrupted, tmp_path):
    reference, _ = uninterrupted
    process = launch("reproduce", *FOUR_CELLS, cwd=tmp_path)
    wait_for_step(run_of(tmp_path, NONE), 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run_of(tmp_path, NONE) / "summary.json").exists()
    done = esr("reproduce", *FOUR_CELLS, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in CONFIGURATIONS:
        same_end(run_of(reference, name), run_of(tmp_path, name))
    assert claims(tmp_path) == claims(reference)
    assert sum(row[1].startswith(" ESR N=32") for row in claims(reference)) == 16


def test_a_complete_reproduction_runs_nothing(uninterrupted):
    folder, first = uninterrupted
    assert "4 cells, 0 complete" in first and "[4/4]" in first
    before = (run_of(folder, NONE) / "metrics.jsonl").stat().st_mtime_ns
    again = esr("reproduce", *FOUR_CELLS, cwd=folder)
    assert again.returncode == 0 and "4 cells, 4 complete" in again.stdout
    assert (run_of(folder, NONE) / "metrics.jsonl").stat().st_mtime_ns == before
    listed = esr("reproduce", *FOUR_CELLS, "list=true", cwd=folder).stdout
    assert "masters" in listed and listed.count("complete") >= 4


def test_other_settings_are_refused_before_anything_runs(uninterrupted):
    folder, _ = uninterrupted
    changed = [text.replace("steps=4", "steps=5") for text in FOUR_CELLS]
    for overrides in (changed, [*changed, "only=[ends]"]):
        done = esr("reproduce", *overrides, cwd=folder)
        assert done.returncode == 2, done.stdout
        assert "overrides=[steps=5,eval_every=2" in done.stderr, done.stderr
        assert "all was made with [steps=4," in done.stderr and "another run_dir" in done.stderr


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


def test_a_cell_over_a_population_runs_for_each_student_with_its_pair():
    cells = {cell.id: cell for cell in cells_of("lab", students=2)}
    assert "students=2" in cells["students"].arguments
    found = [name for name in cells if name.startswith("esr_32/")]
    # The teacher has seed 1; students have the seeds from 2 on.
    assert found == ["esr_32/student_02/seed=0", "esr_32/student_03/seed=0"]
    one = cells["esr_32/student_03/seed=0"]
    assert one.needs == ("students",) and one.run == Path("out/runs/esr_32/student_03/seed=0")
    pairs = Path("out").absolute() / "pairs/students"
    assert {
        "pair.population=students", f"pair.student.path='{pairs}/student_03'",
        f"pair.teacher.path='{pairs}/teacher'",
    } < set(one.arguments)  # fmt: skip
    measured = cells["behaviour@esr_32/student_03/seed=0"]
    assert measured.needs == (one.id,) and measured.run == one.run
    students = {cell.student for cell in cells_of("mixture") if cell.configuration == "esr"}
    assert len(students) == 16 and "student_17" in students
    assert {cell.student for cell in cells_of("lab", quick=True)} == {
        "",
        "student_02",
        "student_03",
    }


def test_a_population_may_grow_and_is_to_do_if_a_student_is_missing(tmp_path):
    chosen = matrix.read(conf_dir() / "experiment/paper/lab.yaml")

    def population(size: int) -> matrix.Cell:
        cells = matrix.cells(chosen, ReproduceConfig(students=size), tmp_path)
        return next(cell for cell in cells if cell.configuration == "students")

    two, three = population(2), population(3)
    assert two.settings_hash == three.settings_hash
    two.record_file.parent.mkdir(parents=True)
    two.record_file.write_text(json.dumps({"asked": two.settings_hash, "state": "complete"}))
    for name in ("teacher", "student_02", "student_03"):
        assert not two.complete
        (tmp_path / "pairs/students" / name).mkdir(parents=True)
    assert two.complete and not three.complete


def test_populations_come_first_and_timings_last_one_at_a_time(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = cells_of("lab", jobs=3)
    runner = reproduce.Runner(cells, 3, 1)
    labs, others, timings = runner.phases(cells)
    assert ({cell.id for cell in labs[0]}, labs[1]) == ({"students", "bytes_students"}, 1)
    assert all("jobs=3" in cell.arguments for cell in labs[0])
    assert (timings[1], all(cell.alone for cell in timings[0])) == (1, True)
    assert others[1] == 3 and sum(len(each[0]) for each in (labs, others, timings)) == len(cells)
    # The time left is that of all phases, not only of the first.
    runner._finish(cells[0], jobs.Ended(1, cells[0].seconds, "a reason"))
    seconds = sum(
        cell.seconds / limit for cells, limit in (labs, others, timings) for cell in cells
    )
    assert f"about {reproduce._span(seconds - cells[0].seconds)} left" in capsys.readouterr().out


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
    assert "task.instruction={question}" in cells["full/student_02/seed=0"].arguments
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        overrides = [quoted(each) for each in cells["students"].arguments]
        assert compose("lab", overrides=overrides).run_dir == str(odd / "pairs/students")
        training = cells["full/student_02/seed=0"].arguments
        overrides = [quoted(each) for each in training if "{question}" not in each]
        student = compose("train", overrides=overrides).pair.student.path
        assert student == str(odd / "pairs/students/student_02")
        overrides = [quoted(each) for each in cells["behaviour@full/student_02/seed=0"].arguments]
        tree = compose("probe", overrides=overrides)
        assert (tree.run, tree.data_dir) == (str(odd / "runs/full/student_02/seed=0"), str(odd))


def test_a_failing_cell_does_not_stop_the_others(tmp_path):
    # A bad override would be refused before any cell runs; a file in place of a folder is not.
    (tmp_path / "all/runs/master_none_2e4").mkdir(parents=True)
    (tmp_path / "all/runs/master_none_2e4/seed=0").write_text("in the way")
    done = esr("reproduce", *FOUR_CELLS, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "1 of 4 cells failed (master_none_2e4/seed=0)" in done.stderr
    record = json.loads((tmp_path / "all/cells/master_none_2e4,seed=0.json").read_text())
    assert record["state"] == "failed" and "run_dir=" in record["reason"]
    assert (run_of(tmp_path, NONE) / "summary.json").is_file()
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
