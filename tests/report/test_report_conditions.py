"""How runs are grouped into conditions, and the kind and the label of a condition."""

from __future__ import annotations

import pytest
from run_folders import write_run

from esr_cli.report import conditions, numbers
from esr_cli.report.book import open_book
from esr_cli.report.claims import judge
from esr_cli.runs import record

RIGHT = {0: [[0, 1]], 2: [[1, 1]]}


@pytest.fixture
def gathered(tmp_path):
    def gather(*each: tuple[str, ...]):
        for index, overrides in enumerate(each):
            write_run(tmp_path / f"run{index}", *overrides, right=RIGHT)
        return conditions.gather([record.read(place) for place in record.places(tmp_path)])

    return gather


@pytest.mark.parametrize(
    ("overrides", "kind", "label"),
    [
        (["+rollout_len=32"], "esr", "ESR N=32"),
        (["+rollout_len=full"], "full", "full rollouts"),
        # The lab's longest response has 128 tokens, so N=128 does not stop any rollout.
        (["+rollout_len=128"], "full", "full rollouts"),
        (["+rollout_len=32", "lengths=mixture"], "mixture", "mixture N=32, 1 in 16 full"),
        (["+rollout_len=32", "lengths=interleaved"], "mixture", "mixture N=32, 1 step in 16 full"),
        (["+rollout_len=32", "lengths=random"], "other", "N at random, 32 on average"),
        (["+rollout_len=64", "lengths=linear"], "growing", "growing 8 to 64"),
        (["+rollout_len=32", "loss=forward_kl"], "other", "N=32, forward kl"),
        (["+rollout_len=full", "loss=top_reverse_kl", "loss.keep_tokens=32"], "selector",
         "top 32 reverse KL"),
        (["+rollout_len=full", "loss=top_kl_student_entropy"], "selector",
         "top 100 KL × student entropy"),
        (["+rollout_len=full", "loss=random_tokens"], "selector", "100 at random"),
        (["+rollout_len=full", "loss=last_tokens"], "selector", "the last 100"),
        (["+rollout_len=full", "loss=middle_tokens", "loss.keep_tokens=32"], "selector",
         "the middle 32"),
        (["+rollout_len=full", "loss=top_forward_kl"], "selector", "top 100 forward KL"),
        (["+rollout_len=full", "loss=window", "loss.window_end=32"], "selector", "window 0 to 32"),
    ],
)  # fmt: skip
def test_kind_and_label_follow_from_the_settings(gathered, overrides, kind, label):
    (condition,) = gathered(overrides)
    assert (condition.kind, condition.label) == (kind, label)


def test_seed_and_tracking_do_not_distinguish_conditions(gathered):
    found = gathered(
        ("+rollout_len=32", "seed=1", "tracking=none"), ("+rollout_len=32", "execution=inline"),
        ("+rollout_len=32", "seed=2", "save_every=7"),
    )  # fmt: skip
    assert [sorted(condition.units) for condition in found] == [[0, 1, 2]]


def test_labels_of_namesakes_state_the_settings_that_differ(gathered):
    found = gathered(
        ("+rollout_len=32",), ("+rollout_len=32", "tune.learning_rate=1e-3"),
        ("+rollout_len=32", "tune=lab_lora"),
    )  # fmt: skip
    assert {condition.label for condition in found} == {
        "ESR N=32, learning rate 0.0002", "ESR N=32, learning rate 0.001", "ESR N=32, LoRA"
    }  # fmt: skip


def test_only_one_complete_run_per_seed_gives_numbers(tmp_path):
    write_run(tmp_path / "a", "+rollout_len=32", right={0: [[0, 0]], 1: [[1, 1]]})
    write_run(tmp_path / "again", "+rollout_len=32", right={0: [[0, 0]], 1: [[0, 0]]})
    for state in ("unfinished", "failed"):
        write_run(tmp_path / state, "+rollout_len=32", "seed=5", right=RIGHT, state=state)
    (condition,) = conditions.gather([record.read(place) for place in record.places(tmp_path)])
    assert [run.state for run in condition.runs] == ["complete", "complete", "failed", "unfinished"]
    assert [run.folder.name for run in condition.done] == ["a"]


def test_students_of_a_population_are_the_units_each_the_mean_of_its_seeds(tmp_path):
    right = {("a", 0): [1, 1], ("a", 1): [1, 0], ("b", 0): [0, 1], ("b", 1): [0, 0]}
    for (student, seed), verdicts in right.items():
        for n, start in (("32", [[0], [1]]), ("full", [[1], [1]])):
            write_run(
                tmp_path / f"{n}-{student}-{seed}", f"+rollout_len={n}", "pair.population=all",
                f"pair.student.path={student}", f"seed={seed}",
                right={0: start, 2: [[each] for each in verdicts] if n == "32" else [[1], [1]]},
            )  # fmt: skip
    (group,) = open_book(tmp_path).groups
    assert [condition.label for condition in group.conditions] == ["full rollouts", "ESR N=32"]
    [(esr, full)] = group.couples("main", "full")
    assert esr.unit == "student" and {unit: len(runs) for unit, runs in esr.units.items()} == {
        "a": 2, "b": 2
    }  # fmt: skip
    assert numbers.accuracy(esr, "lab", "last").seeds == (0.75, 0.25)
    gap = numbers.difference(esr, full, "lab", "last")
    assert gap.value == -0.5 and gap.seeds == (-0.25, -0.75)
    assert numbers.length_ratio(esr, full, "lab").seeds == (1.0, 1.0)
    [line] = [each for each in judge(open_book(tmp_path)) if each.id == "better_last"]
    assert "2 students" in line.what and "seeds" not in line.what


def test_one_student_of_a_population_decides_nothing(tmp_path):
    for n in ("32", "full"):
        write_run(tmp_path / n, f"+rollout_len={n}", "pair.population=all",
                  right={0: [[0]] * 40, 2: [[int(n == "32")]] * 40})  # fmt: skip
    [line] = [each for each in judge(open_book(tmp_path)) if each.id == "better_last"]
    assert (line.verdict, line.could) == ("too noisy to say", "none: one student")


def test_smallest_and_largest_lie_on_either_side_of_main(tmp_path):
    for n in (8, 16, 24, 32, 64, "full"):
        write_run(tmp_path / f"n{n}", f"+rollout_len={n}", right=RIGHT)
    (group,) = open_book(tmp_path).groups
    roles = {role: [condition.tokens for condition in group.chosen(role)]
             for role in ("smallest", "main", "largest", "full")}  # fmt: skip
    assert roles == {"smallest": [8], "main": [32], "largest": [64], "full": [128]}
    assert not list(group.couples("main_by_lora", "main_by_full"))


def test_no_smallest_or_largest_without_another_length(tmp_path):
    for n in (24, 32):  # 24 is less than the N that represents ESR, but not `small`
        write_run(tmp_path / f"n{n}", f"+rollout_len={n}", right=RIGHT)
    (group,) = open_book(tmp_path).groups
    assert not group.chosen("smallest") and not group.chosen("largest")


def test_labels_omit_settings_that_most_conditions_share(gathered):
    found = gathered(
        ("+rollout_len=32",), ("+rollout_len=32", "rollouts_per_prompt=4"), ("+rollout_len=full",)
    )
    assert {condition.label for condition in found} == {
        "full rollouts", "ESR N=32", "ESR N=32, rollouts per prompt 4"
    }  # fmt: skip


def test_runs_that_only_measure_time_give_no_accuracy(tmp_path):
    for n, seconds in ((32, 9.0), ("full", 9.0)):
        write_run(tmp_path / f"n{n}", f"+rollout_len={n}", right=RIGHT, seconds=seconds)
    for n, seconds in ((32, 1.0), ("full", 2.0)):
        write_run(tmp_path / f"t{n}", f"+rollout_len={n}", "limit=1", "steps=2", right=RIGHT,
                  seconds=seconds)  # fmt: skip
    (group,) = open_book(tmp_path).groups
    assert [condition.label for condition in group.chosen("main")] == ["ESR N=32"]
    assert [(a.label, b.label) for a, b in group.clocks("full", "main")] == [
        ("full rollouts, timed", "ESR N=32, timed")
    ]
    judged = {each.id: each for each in judge(open_book(tmp_path))}
    assert judged["faster"].ours.startswith("2.00 times")


@pytest.mark.parametrize(("pair", "n"), [("lab", 32), ("lab_bytes", 32), ("own", 100)])
def test_pairs_named_after_the_lab_use_the_lab_scale(tmp_path, pair, n):
    write_run(tmp_path / "run", f"pair.name={pair}", "+rollout_len=32", right=RIGHT)
    (group,) = open_book(tmp_path).groups
    assert group.scale["n"] == n
