"""Settings of the word problems."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.errors import need

MOST_CHANGES = 6
# Below this, hardly any change but a small gift is left.
SMALLEST_LIMIT = 10
LARGEST_LIMIT = 999


@dataclass
class WordsConfig:
    """How hard the word problems are.

    A problem has `changes[0]` to `changes[1]` changes of one amount, which never exceeds `largest`.
    """

    changes: list[int] = field(default_factory=lambda: [2, 4])
    largest: int = 40

    def check(self, key: str) -> None:
        """Raises `ConfigError` if no problem fits; `key` names the settings in the message."""
        given, ends = self.changes, len(self.changes) == 2
        fits = ends and 1 <= given[0] <= given[1] <= MOST_CHANGES
        remedy = f"give the fewest and the most, between 1 and {MOST_CHANGES}, as [2,4]"
        need(fits, f"{key}.changes", given, remedy)
        inside = SMALLEST_LIMIT <= self.largest <= LARGEST_LIMIT
        remedy = f"give {SMALLEST_LIMIT} to {LARGEST_LIMIT}"
        need(inside, f"{key}.largest", self.largest, remedy)
