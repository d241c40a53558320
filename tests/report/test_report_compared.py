"""Which conditions are compared, which probes they have, and what one seed can show."""

from __future__ import annotations

import pytest
from run_folders import write_probe, write_run

from esr_cli.base.files import read_rows, write_rows
from esr_cli.config import gate
from esr_cli.report.book import Group, open_book
from esr_cli.report.claims import judge
from esr_cli.report.verdicts import EQUIVALENT, NOISY, SHOWS, UNMEASURED

WRONG, ALL = [[0, 0]] * 200, [[1, 1]] * 200
GOOD, BAD = {0: WRONG, 1: ALL, 2: ALL}, {0: WRONG, 1: WRONG, 2: WRONG}
MAIN = "qwen25math_1p5b__qwen3_1p7b"


@pytest.fixture
def judged(tmp_path):
    def judge_all() -> dict:
        return {each.id: each for each in judge(open_book(tmp_path))}

    return judge_all


def group_at(folder) -> Group:
    (group,) = open_book(folder).groups
    return group


def esr_and_full(folder, *overrides: str, **more) -> None:
    write_run(
        folder / "-".join(["esr", *overrides]), "+rollout_len=32", *overrides, right=GOOD, **more
    )
    write_run(
        folder / "-".join(["full", *overrides]), "+rollout_len=full", *overrides, right=BAD, **more
    )


@pytest.mark.parametrize(
    "other",
    ["tune.learning_rate=1e-3", "steps=7", "rollouts_per_prompt=4", "benchmark.lab.max_tokens=64",
     "loss.temperature=0.5"],
)  # fmt: skip
def test_conditions_that_differ_in_another_setting_are_not_compared(tmp_path, judged, other):
    for seed in (0, 1):
        write_run(tmp_path / f"esr{seed}", "+rollout_len=32", f"seed={seed}", right=GOOD)
        write_run(tmp_path / f"full{seed}", "+rollout_len=full", f"seed={seed}", other, right=BAD)
    found = judged()["better_last"]
    assert found.verdict == UNMEASURED and f"differ in {other.split('=')[0]} (" in found.what
    labels = [condition.label for condition in group_at(tmp_path).conditions]
    word = other.split("=")[0].split(".")[-1].replace("_", " ")
    assert all(word in label for label in labels), labels


def test_a_group_without_a_comparison_states_the_reason(tmp_path):
    esr_and_full(tmp_path)
    for n, steps in ((32, 7), ("full", 8)):
        write_run(tmp_path / f"own-{n}", "pair.name=lab_own", f"+rollout_len={n}",
                  f"steps={steps}", right=GOOD)  # fmt: skip
    found = [each for each in judge(open_book(tmp_path)) if each.id == "better_last"]
    assert [each.verdict for each in found] == [NOISY, UNMEASURED]
    assert "differ in steps (7 and 8) (lab_own, lab)" in found[1].what


def test_conditions_are_compared_with_equal_other_settings(tmp_path):
    for rollouts in (1, 4):
        esr_and_full(tmp_path, f"rollouts_per_prompt={rollouts}")
    couples = [(a.config["rollouts_per_prompt"], b.config["rollouts_per_prompt"])
               for a, b in group_at(tmp_path).couples("main", "full")]  # fmt: skip
    assert couples == [(1, 1), (4, 4)]


def test_each_sweep_has_its_own_smallest_and_largest(tmp_path):
    for many, lengths in ((1, (8, 32, 64)), (4, (16, 32, 100))):
        for n in lengths:
            write_run(tmp_path / f"n{n}-{many}", f"+rollout_len={n}",
                      f"rollouts_per_prompt={many}", right=GOOD)  # fmt: skip
    group = group_at(tmp_path)
    ends = {
        role: [condition.tokens for condition in group.chosen(role)]
        for role in ("smallest", "largest")
    }
    assert ends == {"smallest": [8, 16], "largest": [64, 100]}
    assert len({condition.family for condition in group.conditions}) == 2


def test_settings_without_effect_on_figures_do_not_prevent_a_comparison(tmp_path):
    write_run(tmp_path / "esr", "+rollout_len=32", "save_every=1", right=GOOD)
    write_run(tmp_path / "full", "+rollout_len=full", "tracking=none", right=BAD)
    assert len(group_at(tmp_path).couples("main", "full")) == 1


def test_one_seed_is_too_noisy_to_compare_two_trainings(tmp_path, judged):
    esr_and_full(tmp_path, "seed=0")
    one = judged()
    for name in ("better_last", "better_best", "shorter", "unstable"):
        assert one[name].verdict == NOISY and one[name].what.endswith(", one seed"), name
    # With 200 questions and no repetition, a share of up to 1.9 points remains possible.
    assert one["repetition"].verdict == EQUIVALENT
    esr_and_full(tmp_path, "seed=1")
    two = judged()["better_last"]
    assert two.verdict == SHOWS and two.what == "ESR N=32 against full rollouts, 2 seeds†"


def test_seeds_that_are_not_shared_do_not_count(tmp_path, judged):
    esr_and_full(tmp_path, "seed=0")
    write_run(tmp_path / "more", "+rollout_len=32", "seed=1", right=GOOD)
    assert judged()["better_last"].verdict == NOISY


def test_seconds_are_compared_on_one_machine_only(tmp_path, judged):
    esr_and_full(tmp_path)
    assert judged()["faster"].verdict != UNMEASURED
    path = tmp_path / "esr" / "environment.jsonl"
    (start,) = read_rows(path)
    for other in ({"gpu": "Another"}, {"machine": "an abacus"}):
        write_rows(path, [start | other])
        found = judged()
        assert found["faster"].verdict == found["memory"].verdict == UNMEASURED
        assert "machine" in found["faster"].what
    path.unlink()
    assert judged()["faster"].verdict == UNMEASURED


def test_the_role_selectors_has_top_and_random_only(tmp_path):
    for name, loss in (
        ("top", "top_reverse_kl"),
        ("random", "random_tokens"),
        ("window", "window"),
    ):
        more = ["loss.window_end=32"] if name == "window" else ["loss.keep_tokens=32"]
        write_run(tmp_path / name, "+rollout_len=full", f"loss={loss}", *more, right=BAD)
    found = [
        condition.config["loss"]["select"] for condition in group_at(tmp_path).chosen("selectors")
    ]
    assert sorted(found) == ["random", "top"]


def drop(value: float) -> list[dict]:
    return [{"figure": "drop", "region": "untrained", "value": value, "low": value - 0.01,
             "high": value + 0.01}]  # fmt: skip


def test_probes_are_averaged_over_seeds_but_not_over_conditions(tmp_path):
    for many, values in ((1, (0.2, 0.3)), (4, (0.6, 0.7))):
        for seed, value in enumerate(values):
            run = write_run(tmp_path / f"{many}-{seed}", "+rollout_len=32", f"seed={seed}",
                            f"rollouts_per_prompt={many}", right=GOOD)  # fmt: skip
            write_probe(run / "probes", "cascade", drop(value))
    again = write_run(tmp_path / "again", "+rollout_len=32", right=GOOD)
    write_probe(again / "probes", "cascade", drop(9.0))
    cut = write_run(tmp_path / "cut", "+rollout_len=32", "seed=7", right=GOOD, state="unfinished")
    write_probe(cut / "probes", "cascade", drop(9.0))
    found = [each for each in judge(open_book(tmp_path)) if each.id == "cascade"]
    assert [round(each.number.value, 2) for each in found] == [0.25, 0.65]
    assert all(each.what.endswith(", 2 seeds") for each in found)


def two_tasks(folder) -> None:
    for task, benchmark in (("math", "math500"), ("code", "humaneval_plus")):
        for n in (100, "full"):
            write_run(folder / f"{task}-{n}", f"pair={MAIN}", f"task={task}", f"+rollout_len={n}",
                      f"benchmark={benchmark}", right=GOOD, benchmark=benchmark)  # fmt: skip


def test_a_probe_of_the_pair_belongs_to_the_task_of_its_benchmark(tmp_path):
    two_tasks(tmp_path)
    place = tmp_path / "pair"
    write_probe(place, "decay", [{"figure": "drop", "value": 0.1, "low": 0.0, "high": 0.2}])
    saved = {"pair": {"name": MAIN}, "benchmark": {"humaneval_plus": {}}}
    gate.write_yaml(saved, place / "decay.yaml")
    assert {g.task: len(g.probes("decay")) for g in open_book(tmp_path).groups} == {
        "math": 0, "code": 1
    }  # fmt: skip
    gate.write_yaml(saved | {"benchmark": {"math500": {}}}, place / "decay.yaml")
    assert {g.task: len(g.probes("decay")) for g in open_book(tmp_path).groups} == {
        "math": 1, "code": 0
    }  # fmt: skip


def test_the_paper_s_figure_is_for_the_pair_and_task_or_absent(tmp_path):
    two_tasks(tmp_path)
    for pair in ("gemma2_2b_it__gemma3_4b_it", "qwen3_1p7b__qwen3_4b"):
        for n in (100, "full"):
            write_run(tmp_path / f"{pair}-{n}", f"pair={pair}", f"+rollout_len={n}", right=GOOD,
                      benchmark="math500")  # fmt: skip
    judged = judge(open_book(tmp_path))

    def papers_figures(claim: str) -> dict[str, str]:
        return {each.what.split("(")[1]: each.paper.split(" (")[0]
                for each in judged if each.id == claim}  # fmt: skip

    assert papers_figures("better_best") == {
        f"{MAIN}, math)": "+3.50 points", f"{MAIN}, code)": "+0.60 points",
        "gemma2_2b_it__gemma3_4b_it, math)": "+4.25 points",
        "qwen3_1p7b__qwen3_4b, math)": "–",
    }  # fmt: skip
    assert sorted(set(papers_figures("faster").values())) == ["24 times", "–"]
    assert not any("code" in place for place in papers_figures("several_boxes"))
    assert any("code" in place for place in papers_figures("repetition"))


def test_the_benchmark_of_a_group_is_the_most_frequent_of_its_complete_runs(tmp_path):
    for index, (benchmark, state) in enumerate(
        [("math500", "failed")] * 3
        + [("gsm8k", "complete"), ("lab", "complete"), ("lab", "complete")]
    ):
        write_run(tmp_path / f"run{index}", "+rollout_len=32", f"seed={index}", right=GOOD,
                  state=state, benchmark=benchmark)  # fmt: skip
    assert group_at(tmp_path).benchmark == "lab"
