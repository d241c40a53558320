"""The lab's grader: compares a boxed number with the reference."""

from __future__ import annotations

import re

from esr_cli.types import Grade

BOXED = re.compile(r"\\boxed\s*\{\s*([^{}]*?)\s*\}")


def grade(response: str, reference: str, box: str = "last") -> Grade:
    """Grades as correct if the last (or `first`) `\\boxed{}` holds exactly the reference.

    `also` holds `boxed`, and the verdict on the other box as `first_boxed` or `last_boxed`.
    """
    boxes = BOXED.findall(response)
    graded, other = (boxes[:1], boxes[-1:]) if box == "first" else (boxes[-1:], boxes[:1])
    name = "last_boxed" if box == "first" else "first_boxed"
    also = {"boxed": bool(boxes), name: other == [reference]}
    if not boxes:
        return Grade(False, "no boxed answer", also=also)
    [answer] = graded
    right = answer == reference
    return Grade(right, "right" if right else f"{answer}, not {reference}", answer, also)
