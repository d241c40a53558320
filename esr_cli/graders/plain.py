"""A grader that calls a function in the current process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from esr_cli.types import Grade


class PlainGrader:
    """`Grader` that applies a function of (response, reference); answers compare as strings."""

    def __init__(self, function: Callable[[str, Any], Grade]) -> None:
        self._function = function

    def grade(self, pairs: Sequence[tuple[str, Any]]) -> list[Grade]:
        """Grades each (response, reference)."""
        return [self._function(response, reference) for response, reference in pairs]

    def equal(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Returns whether the two strings of each pair are the same."""
        return [one == other for one, other in pairs]

    def close(self) -> None:
        """Does nothing; there is no process to end."""
