"""Grades every gold answer of the published math data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from esr_cli.graders.math import MathGrader


@pytest.fixture(scope="module")
def grader():
    grader = MathGrader(workers=2, seconds=20)
    yield grader
    grader.close()


DATA = os.environ.get("ESR_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="ESR_DATA names no folder")


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (Path(DATA or "") / name).read_text().splitlines()]


def wrongly_graded(grader: MathGrader, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    grades = grader.grade(pairs)
    return [pair for pair, grade in zip(pairs, grades, strict=True) if not grade.correct]


@needs_data
def test_every_gold_of_math500_is_right(grader):
    data = rows("math500.jsonl")
    assert len(data) == 500
    boxed = [(f"\\boxed{{{row['answer']}}}", row["answer"]) for row in data]
    solved = [(row["solution"], row["answer"]) for row in data]
    assert wrongly_graded(grader, boxed) == [] and wrongly_graded(grader, solved) == []


@needs_data
def test_every_gold_of_gsm8k_is_right(grader):
    golds = [row["answer"].split("####")[1].strip() for row in rows("gsm8k_test.jsonl")]
    assert len(golds) == 1319
    for form in (
        "{}",
        "{:,}",
        r"\${}",
        r"\${:,}",
        "{}.00",
        r"\${:,}.00",
        "x = {}",
        r"{}\text{{ eggs}}",
    ):
        forms = [form.format(int(gold.replace(",", ""))) for gold in golds]
        pairs = [(f"\\boxed{{{text}}}", gold) for text, gold in zip(forms, golds, strict=True)]
        assert wrongly_graded(grader, pairs) == [], form


@needs_data
def test_no_gold_of_math500_is_right_for_the_next_question(grader):
    golds = [row["answer"] for row in rows("math500.jsonl")]
    pairs = list(zip(golds, [*golds[1:], golds[0]], strict=True))
    grades = grader.grade([(f"\\boxed{{{gold}}}", other) for gold, other in pairs])
    right = [pair for pair, grade in zip(pairs, grades, strict=True) if grade.correct]
    assert {pair for pair in right if pair[0] != pair[1]} == {("5", "x=5")}
    assert len(right) == 1 + sum(gold == other for gold, other in pairs)
