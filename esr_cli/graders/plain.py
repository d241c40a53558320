"""A grader from a function, for verdicts that need no process of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from esr_cli.types import Grade


class PlainGrader:
    """`Grader` by one function of (response, reference); equal answers are equal texts."""

    def __init__(self, function: Callable[[str, Any], Grade]) -> None:
        self._function = function

    def grade(self, pairs: Sequence[tuple[str, Any]]) -> list[Grade]:
        """A verdict for each (response, reference)."""
        return [self._function(response, reference) for response, reference in pairs]

    def equal(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether the two texts of each pair are the same."""
        return [one == other for one, other in pairs]

    def close(self) -> None:
        """There is nothing to end."""
