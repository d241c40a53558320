"""The grader of the lab's answers."""

from __future__ import annotations

import pytest

from esr_cli.graders.lab import grade


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("so the answer is \\boxed{ 3 }", True),
        ("\\boxed{3}", True),
        ("\\boxed{ 2 } no , \\boxed{ 3 }", True),
        ("\\boxed{ 3 } no , \\boxed{ 2 }", False),
        ("\\boxed{ 3 3 }", False),
        ("\\boxed{ }", False),
        ("\\boxed{ 3", False),
        ("3", False),
        ("", False),
    ],
)
def test_grader(response: str, right: bool) -> None:
    assert grade(response, "3").correct is right
