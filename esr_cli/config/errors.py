"""The one error that a user's own mistake raises, and the checks that raise it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class ConfigError(ValueError):
    """A setting or an input that cannot work: one line with the key, the value and the remedy."""


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`did you mean NAME?` for a misspelt one of `known`, else nothing."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {prefix}{near[0]}?" if near else ""


def need(holds: bool, key: str, value: Any, remedy: str) -> None:
    """Raises `ConfigError` (`key=value: remedy`) unless `holds`."""
    if not holds:
        raise ConfigError(f"{key}={value}: {remedy}")


def need_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `ConfigError` unless `value` is one of `choices`."""
    need(value in choices, key, value, f"choose one of {', '.join(choices)}")
