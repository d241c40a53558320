"""Which box is the headline: the other one stays as a further verdict."""

from __future__ import annotations

import pytest

from esr_cli.benchmarks import catalog
from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.exam import judge
from esr_cli.config import BenchmarkConfig, ConfigError
from esr_cli.graders.figures import Response
from esr_cli.types import Question

# Responses to a question with the answer 3: the verdicts on the last and on the first box.
LOOP = r"so \boxed{ 3 } . " + r"again \boxed{ 4 } . " * 9
CASES = [
    (r"so \boxed{ 3 }", True, True),
    (LOOP, False, True),
    (r"\boxed{ 2 } , no , \boxed{ 3 }", True, False),
    (r"\boxed{ 2 }", False, False),
    ("so 3", False, False),
]


def test_an_answer_after_the_mark_of_gsm8k_counts_where_no_box_is():
    cases = [
        ("1+2\n#### 3", True), ("#### $1,003\n", False), ("#### 3\n\nQuestion: 2+2?\n#### 4", True),
        (r"#### 4, no, \boxed{3}", True), (r"#### 3, no, \boxed{4}", False), ("3", False),
        ("#### \n3", False), ("####", False), ("#### Step 1: add\n2+1\n#### **3**.", True),
        ("#### 1. Add\n#### 3<|end|>", True), ("##### 3", False), ("#### $3.00", True),
    ]  # fmt: skip
    grader = catalog.grader(BenchmarkConfig(kind="math", box="marked"), "none", print)
    grades = grader.grade([(text, "3") for text, _ in cases])
    assert [grade.correct for grade in grades] == [right for _, right in cases]
    assert grader.grade([("#### 1,003", "1003")])[0].correct
    grader.close()
    with pytest.raises(ConfigError, match="only kind=math has answers after ####"):
        BenchmarkConfig(kind="lab", box="marked")


@pytest.mark.parametrize("kind", ["math", "lab"])
@pytest.mark.parametrize("box", ["last", "first"])
def test_the_chosen_box_is_graded_and_the_other_reported(kind, box):
    config = BenchmarkConfig(kind=kind, box=box)
    grader = catalog.grader(config, "none", print)
    grades = grader.grade([(text, "3") for text, *_ in CASES])
    other = {"last": "first_boxed", "first": "last_boxed"}[box]
    last, first = [case[1] for case in CASES], [case[2] for case in CASES]
    headline, reported = (last, first) if box == "last" else (first, last)
    assert [grade.correct for grade in grades] == headline
    assert [grade.also[other] for grade in grades] == reported
    assert not any({"first_boxed", "last_boxed"} - {other} & grade.also.keys() for grade in grades)
    # The vote is the answer of the graded box.
    votes = {"last": ["3", "4", "3", "2", None], "first": ["3", "3", "2", "2", None]}[box]
    assert [grade.answer for grade in grades] == votes
    grader.close()


@pytest.mark.parametrize(
    ("kind", "box", "figures"),
    [
        ("math", "last", {"avg@5": 0.4, "first_boxed@5": 0.4, "boxed": 0.8, "anywhere@5": 0.8}),
        ("lab", "first", {"avg@5": 0.4, "last_boxed@5": 0.4, "boxed": 0.8}),
    ],
)
def test_both_boxes_are_figures_of_the_benchmark(kind, box, figures):
    config = BenchmarkConfig(kind=kind, box=box, samples=5)
    asked = Benchmark("b", config, [Question("q", ({"role": "user", "content": "?"},), "3")])
    grader = catalog.grader(config, "none", print)
    done = judge(asked, grader, {"q": [Response(text) for text, *_ in CASES]}, 0)
    grader.close()
    found = {row["metric"]: row["value"] for row in done.rows}
    assert {name: found[name] for name in figures} == figures
    [row] = done.generations
    assert row["correct"] == [case[1 if box == "last" else 2] for case in CASES]


def test_a_list_in_a_box_each_counts_for_the_last_box_alone():
    text = r"\boxed{2} and \boxed{3}"
    for box, right, answer in (("last", True, "2,3"), ("first", False, "2")):
        grader = catalog.grader(BenchmarkConfig(kind="math", box=box), "none", print)
        [grade] = grader.grade([(text, "2, 3")])
        grader.close()
        assert (grade.correct, grade.answer.replace(" ", "")) == (right, answer)
    assert grade.also["last_boxed"]
