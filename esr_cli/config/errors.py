"""The one error that a user's own mistake raises, and the checks that raise it."""

from __future__ import annotations

from typing import Any


class ConfigError(ValueError):
    """A setting or an input that cannot work: one line with the key, the value and the remedy."""


def need(holds: bool, key: str, value: Any, remedy: str) -> None:
    """Raises `ConfigError` (`key=value: remedy`) unless `holds`."""
    if not holds:
        raise ConfigError(f"{key}={value}: {remedy}")


def need_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `ConfigError` unless `value` is one of `choices`."""
    need(value in choices, key, value, f"choose one of {', '.join(choices)}")
