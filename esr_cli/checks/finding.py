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


def refuse(findings: Iterable[Finding]) -> None:
    """Raises the first error among them as `ConfigError`."""
    for each in findings:
        if each.status == "error":
            raise ConfigError(f"{each.said}; {each.remedy}" if each.remedy else each.said)
