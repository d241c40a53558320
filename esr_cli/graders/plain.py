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
        """Grades each (response, reference); a response that cannot be read is wrong."""
        return [self._grade(response, reference) for response, reference in pairs]

    def equal(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Returns whether the two strings of each pair are the same."""
        return [one == other for one, other in pairs]

    def _grade(self, response: str, reference: Any) -> Grade:
        try:
            return self._function(response, reference)
        except Exception as error:
            # What a model wrote may break a parser in a way that no one has seen yet.
            return Grade(False, f"cannot be read ({type(error).__name__})")

    def close(self) -> None:
        """Does nothing; there is no process to end."""
