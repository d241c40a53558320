"""Extraction of boxes from text, including hostile text."""

from __future__ import annotations

import time

import pytest

from esr_cli.graders.boxed import LONGEST, boxes, first_box, last_box
from esr_cli.graders.latex import spell
from esr_cli.graders.normal import normal


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (r"\boxed{1} then \boxed{2}", ["1", "2"]),
        (r"\boxed{\frac{1}{2}}", [r"\frac{1}{2}"]),
        (r"\fbox{3}", ["3"]),
        (r"\boxed {4}", ["4"]),
        (r"$\boxed 5$ and \(\boxed -7\)", ["5", "-7"]),
        (r"$\boxed5$", ["5"]),
        (r"put it in \boxed please", []),
        ("in \\boxed form\nas $5$", []),
        (r"in $\boxed$ notation", []),
        (r"\boxedx{4}", []),
        (r"\boxed{\{1,2\}}", [r"\{1,2\}"]),
        (r"\boxed{\left\{ 1 \right.}", [r"\left\{ 1 \right."]),
        (r"\boxed{6} and \boxed{7", ["6"]),
        (r"\boxed{ 8 \boxed{9}", ["9"]),
        (r"\boxed{x = \boxed{5}}", ["5"]),
        (r"a \\ \boxed{5} \\\boxed{6} \\boxed{7}", ["5", "6", "7"]),
        (r"} \boxed{5} {", ["5"]),
        (r"\boxed{}", [""]),
        (r"\boxed{4} (asked for in \boxed{})", ["4"]),
        (r"$\boxed{4}$, $\boxed{\ }$", ["4"]),
        (r"\framebox{4} or \Boxed{5}", ["4", "5"]),
        (r"\boxed 4", ["4"]),
        ("\\boxed -1,000.5.\nDone.", ["-1,000.5"]),
        (r"\boxed 4 cases", []),
        (r"<think>\boxed{3}</think>\boxed{4} <think>or \boxed{5}?", ["3", "4"]),
        (r"<think>it is \boxed{5}", ["5"]),
        ("\\boxed{5}\\boxed{" + "1" * LONGEST + "}", ["5", "1" * LONGEST]),
        ("\\boxed{5}\\boxed{" + "1" * (LONGEST + 1) + "}", ["5", ""]),
    ],
)
def test_boxes(text, held):
    assert boxes(text) == held
    assert (first_box(text), last_box(text)) == ((held or [None])[0], (held or [None])[-1])


HOSTILE_TEXTS = [
    "\\boxed{" * 5000,
    "\\boxed{" + "{" * 3000 + "5" + "}" * 3000 + "}",
    "$" * 100_000,
    "\0" * 100_000,
    "\\boxed " * 100_000,
    "\\boxed" + " " * 1_000_000,
    "\\" * 1_000_000,
    "\\frac" * 100_000,
    "{" * 1_000_000,
    "1,000" * 100_000,
    "1." * 200_000,
    "\\boxed{\\boxed{" * 3000 + "}" * 6000,
    "\\text{" * 100_000,
    "1 " * 500_000,
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text[:12]))
def test_text_of_any_shape_takes_linear_time(text):
    start = time.process_time()
    boxes(text)
    spell(text)
    normal(text[:LONGEST])
    # Each takes well under a second; quadratic time would take minutes.
    assert time.process_time() - start < 5
