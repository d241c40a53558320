"""The lab's grader: compares the last boxed number with the reference."""

from __future__ import annotations

import re

from esr_cli.types import Grade

BOXED = re.compile(r"\\boxed\s*\{\s*([^{}]*?)\s*\}")


def grade(response: str, reference: str) -> Grade:
    """Grades as correct if the last `\\boxed{}` holds exactly the reference."""
    boxes = BOXED.findall(response)
    if not boxes:
        return Grade(False, "no boxed answer", also={"boxed": False})
    right = boxes[-1] == reference
    reason = "right" if right else f"{boxes[-1]}, not {reference}"
    return Grade(right, reason, answer=boxes[-1], also={"boxed": True})
