"""Responses that other programs wrote, to all questions or to some, and as many as there are."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.exam import judge
from esr_cli.benchmarks.responses import for_benchmark
from esr_cli.config import BenchmarkConfig, ConfigError
from esr_cli.graders.plain import PlainGrader
from esr_cli.types import Grade, Question

PROBLEMS = ["What is 1+1?", "What is 2+2?", "What is 2+2?", "What is 3+3?"]
MATH = Benchmark(
    "math500",
    BenchmarkConfig(kind="math", samples=4, pass_at=[1, 4], wording="{problem} Box it."),
    [Question(str(i), ({"role": "user", "content": f"{text} Box it."},), str(2 * i))
     for i, text in enumerate(PROBLEMS)],
)  # fmt: skip
CODE = Benchmark(
    "humaneval", BenchmarkConfig(kind="code", family="humaneval", pass_at=[1]),
    [Question(f"HumanEval/{i}", ({"role": "user", "content": "?"},), None) for i in range(2)],
)  # fmt: skip


def answers(path, rows, benchmark=MATH):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return for_benchmark(path, benchmark, alone=True)


def texts(found):
    return {name: [each.text for each in given] for name, given in found.responses.items()}


def sample(number, problem, responses, **more):
    doc = {"problem": problem, "answer": "0"}
    return {"doc_id": number, "doc": doc, "target": "0", "resps": [responses], **more}


def test_samples_of_the_harness_are_matched_by_the_text_of_the_question(tmp_path):
    """Their numbers count the rows of another file; each filter repeats them."""
    rows = [
        sample(0, " What is  3+3?", [r"\boxed{6}"], filter="strict-match"),
        sample(0, " What is  3+3?", [r"\boxed{6}"], filter="flexible-extract"),
        sample(1, PROBLEMS[0], ["2"]), sample(2, PROBLEMS[2], ["4"]), sample(9, "Why?", ["x"]),
    ]  # fmt: skip
    found = answers(tmp_path / "samples_math500_2026.jsonl", rows)
    # Of two equal questions the number decides.
    assert texts(found) == {"0": ["2"], "2": ["4"], "3": [r"\boxed{6}"]}
    assert found.benchmark.name == "math500 (3 of 4)"
    assert found.said == (
        f"{tmp_path}/samples_math500_2026.jsonl: samples of lm-evaluation-harness (doc, resps); "
        "1 response to each of 3 questions, graded as math500 (3 of 4); too few for pass@4"
    )


def test_a_file_without_boxes_is_told_how_it_can_be_graded(tmp_path):
    rows = [sample(0, PROBLEMS[0], ["1 and 1\n#### 2"]), sample(1, PROBLEMS[3], ["it is 6"])]
    said = answers(tmp_path / "a.jsonl", rows).said
    assert said.endswith(
        "; no response has a box, and without one none is right: "
        "benchmark.math500.box=marked takes what follows ####"
    )
    marked = replace(MATH, config=replace(MATH.config, box="marked"))
    assert answers(tmp_path / "a.jsonl", rows, marked).said.endswith("too few for pass@4")
    assert answers(tmp_path / "a.jsonl", rows[1:]).said.endswith("without one none is right")


def test_samples_of_another_task_are_not_taken_for_their_numbers(tmp_path):
    """A doc without a question that is known: its numbers are of another file, perhaps."""
    rows = [{"doc_id": 0, "doc": {"Question": "Why?"}, "resps": [["2"]]}]
    with pytest.raises(ConfigError, match=r"a\.jsonl"):
        answers(tmp_path / "a.jsonl", rows)


def test_samples_of_the_harness_without_a_text_are_matched_by_number_or_task(tmp_path):
    rows = [{"doc_id": 3, "doc": {}, "resps": [["a"]]}, {"doc_id": 0, "doc": None, "resps": ["b"]}]
    assert texts(answers(tmp_path / "a.jsonl", rows)) == {"0": ["b"], "3": ["a"]}
    tasks = ("HumanEval/1", 0)
    code = [{"doc_id": 9, "doc": {"task_id": task}, "resps": [["x"]]} for task in tasks]
    assert texts(answers(tmp_path / "a.jsonl", code, CODE)) == {
        "HumanEval/0": ["x"], "HumanEval/1": ["x"],
    }  # fmt: skip


@pytest.mark.parametrize("field", ["solution", "completion"])
def test_samples_of_evalplus_are_several_rows_to_a_task(tmp_path, field):
    rows = [{"task_id": f"HumanEval/{i}", field: f"{i}{j}"} for j in range(3) for i in range(2)]
    rows.append({"task_id": "Mbpp/2", field: "other"})
    found = answers(tmp_path / "a.jsonl", rows, CODE)
    assert texts(found) == {f"HumanEval/{i}": [f"{i}0", f"{i}1", f"{i}2"] for i in range(2)}
    assert found.benchmark.name == "humaneval" and found.benchmark.config.pass_at == [1, 3]
    assert "3 responses to each of 2 questions, graded as humaneval" in found.said


def test_the_k_of_pass_at_k_are_those_that_are_there(tmp_path):
    def ks(count):
        rows = [{"id": each.id, "responses": ["1"] * count} for each in MATH.questions]
        return answers(tmp_path / "a.jsonl", rows).benchmark.config.pass_at

    assert [ks(count) for count in (1, 2, 4, 6)] == [[1], [1, 2], [1, 4], [1, 4, 6]]


def test_a_part_of_the_questions_is_graded_under_a_name_of_its_own(tmp_path):
    rows = [{"id": "3", "responses": ["6", "7"]}, {"id": "0", "responses": ["0", "0"]}]
    found = answers(tmp_path / "a.jsonl", rows)

    def grade(text, reference):
        return Grade(text == reference, "")

    made = judge(found.benchmark, PlainGrader(grade), found.responses, 0)
    value = {row["metric"]: row for row in made.rows}
    assert value["avg@2"]["value"] == 0.75 and value["pass@2"]["value"] == 1.0
    assert {(row["benchmark"], row["n"], row["of"]) for row in made.rows} == {
        ("math500 (2 of 4)", 2, 4)
    }
    # What was written can be read again, as the same part.
    again = answers(tmp_path / "again.jsonl", made.generations)
    assert again.benchmark.name == "math500 (2 of 4)" and texts(again) == texts(found)


@pytest.mark.parametrize(("rows", "message"), [
    ([{"doc_id": 0, "doc": {}, "resps": [[[-1.5, False]], [[-2.0, True]]]}],
     "a.jsonl:1: field 'resps' holds no texts, as of a task that compares log-likelihoods"),
    ([sample(0, PROBLEMS[0], ["2"]), sample(0, PROBLEMS[0], ["3"])],
     "a.jsonl:2: question 0 has other responses in an earlier row"),
    ([{"doc_id": 0, "doc": {}, "resps": None}], "a.jsonl:1: field 'resps' is None"),
    ([{"task_id": "HumanEval/0", "solution": None}], "a.jsonl:1: field 'solution' must be a"),
    ([sample(0, "Why?", ["2"])], "no responses to any of 4 questions of math500, whose ids are"),
    ([{"question": "x"}], "a.jsonl:1: it has question; the formats that are read are esr's own"),
    ([{"id": "0", "responses": ["2"]}, {"doc_id": 0, "resps": []}], "a.jsonl:2: field 'id' must"),
])  # fmt: skip
def test_what_cannot_be_read_is_one_line(tmp_path, rows, message):
    with pytest.raises(ConfigError) as caught:
        answers(tmp_path / "a.jsonl", rows)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_whole_programs_do_not_continue_a_prompt(tmp_path):
    raw = Benchmark(
        "humaneval_raw", BenchmarkConfig(kind="code", family="humaneval", prompt="raw"),
        CODE.questions,
    )  # fmt: skip
    row = {"task_id": "HumanEval/0", "solution": "def f(): pass"}
    with pytest.raises(ConfigError, match="'solution' holds a whole program, and humaneval_raw"):
        answers(tmp_path / "a.jsonl", [row], raw)
    del row["solution"]
    row["completion"] = "    pass"
    assert texts(answers(tmp_path / "a.jsonl", [row], raw)) == {"HumanEval/0": ["    pass"]}
