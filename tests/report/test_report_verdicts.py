"""What a verdict is held against, and that each fact counts once."""

from __future__ import annotations

import pytest
from run_folders import write_probe, write_run

from esr_cli.config import gate
from esr_cli.report import numbers
from esr_cli.report.book import open_book
from esr_cli.report.claims import footnotes, judge
from esr_cli.report.verdicts import UNMEASURED, UNTESTABLE

HALF = [[1, 1]] * 50 + [[0, 0]] * 50


def trained(folder, *overrides, seeds=(0, 1, 2), esr=HALF, full=HALF, **more):
    for seed in seeds:
        for n, last in ((32, esr), ("full", full)):
            write_run(folder / f"{n}-{seed}-{'-'.join(overrides)}", f"+rollout_len={n}",
                      f"seed={seed}", *overrides, right={0: HALF, 1: last, 2: last},
                      **more)  # fmt: skip


def lines(folder, claim):
    return [each for each in judge(open_book(folder)) if each.id == claim]


def test_the_paper_s_figure_is_that_of_the_same_tuning_and_rollouts(tmp_path):
    trained(tmp_path, "tune=lab_full", seeds=(0,))
    trained(tmp_path, "tune=lab_lora", seeds=(0,))
    trained(tmp_path, "tune=lab_full", "rollouts_per_prompt=4", seeds=(0,))
    found = {each.what: each.paper for each in lines(tmp_path, "better_best")}
    by_setting = {
        ("LoRA" in what, "prompt 4" in what): paper.split(" points")[0]
        for what, paper in found.items()
    }
    # The lab's LoRA pair is judged beside full fine-tuning.
    assert by_setting == {(True, False): "+3.50", (False, False): "-2.00", (False, True): "-1.35"}
    unstable = {"prompt 4" in each.what: each.paper for each in lines(tmp_path, "unstable")}
    assert unstable[True].startswith("21.4") and unstable[False].startswith("– (with LoRA, 16")


def test_the_best_of_one_checkpoint_is_not_measured(tmp_path):
    for seed in (0, 1, 2):
        for n in (32, "full"):
            write_run(tmp_path / f"{n}-{seed}", f"+rollout_len={n}", f"seed={seed}",
                      right={0: HALF, 2: HALF})  # fmt: skip
    for claim in ("better_best", "unstable"):
        assert [each.verdict for each in lines(tmp_path, claim)] == [UNMEASURED], claim
    [last] = lines(tmp_path, "better_last")
    assert last.verdict != UNMEASURED


def test_pairs_of_a_population_are_one_line_over_students_who_count_once(tmp_path):
    trained(tmp_path / "runs", seeds=(0, 1))
    shares = {"a/student_02": 0.3, "a/student_03": 0.5, "b/student_02": 0.9}
    for student, value in shares.items():
        rows = [{"figure": "kl_in_first_tenth", "who": "before", "value": value,
                 "low": value - 0.01, "high": value + 0.01}]  # fmt: skip
        folder = tmp_path / "pair" / student / "probes"
        write_probe(folder, "profile", rows)
        pair = {"name": "lab", "population": "all", "student": {"path": student}}
        gate.write_yaml({"pair": pair, "benchmark": {"lab": {}}}, folder / "profile.yaml")
    [line] = lines(tmp_path, "early_kl")
    # The same student in another folder is the same fact.
    assert line.what == "probe profile of the untrained students, 2 students"
    assert line.number.value == pytest.approx(0.4)


def test_the_untrained_student_is_one_fact_without_seeds(tmp_path):
    trained(tmp_path, seeds=(0, 1))
    rows = [{"figure": "kl_in_first_tenth", "who": "before", "value": 0.3, "low": 0.28,
             "high": 0.32}]  # fmt: skip
    for run in tmp_path.glob("*-*"):
        write_probe(run / "probes", "profile", rows)
    (of_runs,) = lines(tmp_path, "early_kl")
    assert of_runs.what == "probe profile of the untrained student"
    write_probe(tmp_path / "lab" / "probes", "profile", [rows[0] | {"value": 0.29}])
    (of_pair,) = lines(tmp_path, "early_kl")
    assert of_pair.number.value == pytest.approx(0.29)


def test_full_rollouts_at_the_ceiling_cannot_be_surpassed(tmp_path):
    trained(tmp_path, full=[[1, 1]] * 99 + [[1, 0]], esr=[[1, 1]] * 100)
    assert lines(tmp_path, "better_last")[0].verdict == UNTESTABLE


def test_each_comparison_says_what_it_could_show_and_one_note_what_three_seeds_cannot(tmp_path):
    trained(tmp_path)
    judged = judge(open_book(tmp_path))
    found = next(each for each in judged if each.id == "better_last")
    assert found.could.endswith(" points") and float(found.could.split()[0]) > 2
    assert found.what.endswith("3 seeds†")
    (note,) = footnotes(judged)
    assert note.startswith("† Three seeds or fewer")
    trained(tmp_path, seeds=(3, 4))
    assert footnotes(judge(open_book(tmp_path))) == []


def test_one_seed_could_show_no_difference(tmp_path):
    trained(tmp_path, seeds=(0,), esr=[[1, 1]] * 100)
    assert lines(tmp_path, "better_last")[0].could == "none: one seed"
    assert lines(tmp_path, "faster")[0].could.startswith("none: ")


def test_a_best_checkpoint_is_chosen_on_other_questions(tmp_path):
    # Step 1 is right on the questions of even, step 2 on those of odd place: either looks half
    # right, and the one chosen on a half is wrong on the other.
    even, odd = ([[int(i % 2 == at)] * 2 for i in range(10)] for at in (0, 1))
    write_run(tmp_path / "run", "+rollout_len=32", right={0: [[0, 0]] * 10, 1: even, 2: odd})
    (group,) = open_book(tmp_path).groups
    (main,) = group.chosen("main")
    assert numbers.accuracy(main, "lab", "best").value == 0.5
    assert numbers.accuracy(main, "lab", "held_out").value == 0.0
    # A checkpoint that is better on both halves is chosen for both.
    write_run(tmp_path / "sure", "+rollout_len=64", right={1: [[1, 1]] * 9 + [[0, 0]], 2: even})
    (group,) = open_book(tmp_path).groups
    sure = next(each for each in group.conditions if each.tokens == 64)
    assert numbers.accuracy(sure, "lab", "held_out").value == 0.9
    assert numbers.fall(sure, "lab").value == pytest.approx(0.4)
