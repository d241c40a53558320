"""One line of `esr check`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from esr_cli.config import ConfigError


@dataclass(frozen=True)
class Finding:
    """`status` is ok, warning or error; an error's `said` begins with the key and its value."""

    status: str
    topic: str
    said: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """What is said, and the remedy where there is one."""
        return f"{self.said}; {self.remedy}" if self.remedy else self.said


def refuse(findings: Iterable[Finding]) -> None:
    """Raises the first error among them as `ConfigError`."""
    for each in findings:
        if each.status == "error":
            raise ConfigError(each.text)
