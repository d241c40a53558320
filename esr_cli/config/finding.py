"""One line in the output of `esr check`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from esr_cli.config import ConfigError


@dataclass(frozen=True)
class Finding:
    """`status` is ok, warning or error; the text `said` of an error begins with `key=value`."""

    status: str
    topic: str
    said: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """The message, with the remedy if there is one."""
        return f"{self.said}; {self.remedy}" if self.remedy else self.said


def refuse(findings: Iterable[Finding]) -> None:
    """Raises the first finding with status `error` as `ConfigError`."""
    for each in findings:
        if each.status == "error":
            raise ConfigError(each.text)
