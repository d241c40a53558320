"""Figures of graded responses: avg@k, pass@k, maj@k, lengths and truncation."""

from __future__ import annotations

import pytest

from esr_cli.base import statistics
from esr_cli.graders.figures import Graded, Response, figures, grade_all
from esr_cli.graders.plain import PlainGrader
from esr_cli.types import Grade


def grader():
    return PlainGrader(
        lambda text, gold: Grade(text == gold, "", text or None, {"boxed": bool(text)})
    )


def graded_responses():
    def responses(*texts, finish="stop"):
        return [Response(text, tokens=len(text), finish=finish) for text in texts]

    return grade_all(
        grader(),
        [
            ("a", "x", responses("x", "x", "y", "x")),
            ("b", "x", responses("y", "y", "x", "")),
            ("c", "x", responses("", "", "", "", finish="length")),
        ],
    )


def test_figures_of_three_questions():
    rows = {row["metric"]: row for row in figures(graded_responses(), grader(), [1, 2, 4])}
    assert next(iter(rows)) == "avg@4"
    assert rows["avg@4"]["value"] == pytest.approx((3 / 4 + 1 / 4 + 0) / 3)
    assert rows["pass@1"]["value"] == pytest.approx(rows["avg@4"]["value"])
    assert rows["pass@2"]["value"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert rows["pass@4"]["value"] == pytest.approx(2 / 3)
    assert rows["maj@4"]["value"] == pytest.approx(1 / 3)
    assert rows["boxed"]["value"] == pytest.approx((1 + 3 / 4 + 0) / 3)
    assert rows["truncated"]["value"] == rows["ended"]["value"] / 2 == pytest.approx(1 / 3)
    assert rows["length_tokens/mean"]["value"] == pytest.approx(7 / 12)
    assert all(row["low"] <= row["value"] <= row["high"] and row["n"] == 3 for row in rows.values())
    shares = statistics.mean_interval([3 / 4, 1 / 4, 0], 4)
    assert (rows["avg@4"]["low"], rows["avg@4"]["high"]) == pytest.approx(shares[1:])


def test_a_grade_without_a_separate_verdict_counts_for_that_verdict():
    judged = [Grade(True, "", also={"base": True}), Grade(True, ""), Grade(False, "")]
    graded = [Graded(str(i), (Response("x"),), (grade,)) for i, grade in enumerate(judged)]
    rows = {row["metric"]: row["value"] for row in figures(graded, grader(), [])}
    assert rows["base@1"] == pytest.approx(2 / 3)


def test_maj_at_k_groups_answers_by_the_graders_equality():
    class Lenient(PlainGrader):
        def equal(self, pairs):
            return [one.lower() == other.lower() for one, other in pairs]

    responses = [Response(text) for text in ("y", "x", "Y", "X", "Y")]
    judge = Lenient(lambda text, gold: Grade(text.lower() == gold, "", text))
    rows = figures(grade_all(judge, [("a", "y", responses)] * 2), judge, [])
    assert next(row for row in rows if row["metric"] == "maj@5")["value"] == 1.0


def test_without_tokens_lengths_are_in_characters_and_truncation_is_not_reported():
    graded = [Graded("a", (Response("abc"),), (Grade(True, ""),))] * 2
    names = [row["metric"] for row in figures(graded, grader(), [])]
    assert "length_characters/p50" in names and "truncated" not in names
    assert "maj@1" not in names
