"""`ConfigError`, raised for user errors, and the checks that raise it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import field, fields
from pathlib import Path
from typing import Any

from esr_cli.base.reading import ConfigError as ConfigError

# No count, size or seed needs more, and 32-bit integers hold no more.
LARGEST = 2**31 - 1


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`did you mean NAME?` for the closest match in `known`; empty if none is close."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {prefix}{near[0]}?" if near else ""


def need(holds: bool, key: str, value: Any, remedy: str) -> None:
    """Raises `ConfigError` (`key=value: remedy`) unless `holds`."""
    if not holds:
        raise ConfigError(f"{key}={value}: {remedy}")


def need_moderate(settings: Any, key: str = "") -> None:
    """Raises `ConfigError` if a number anywhere in nested settings is infinite, NaN or huge."""
    if isinstance(settings, dict | list):
        items = settings.items() if isinstance(settings, dict) else enumerate(settings)
        for name, value in items:
            need_moderate(value, f"{key}.{name}" if key else str(name))
    elif isinstance(settings, float):
        need(math.isfinite(settings), key, settings, "give a finite number")
    elif isinstance(settings, int):
        need(abs(settings) <= LARGEST, key, settings, f"give at most {LARGEST:,} in size")


def need_folder(key: str, path: str | Path, remedy: str) -> None:
    """Raises `ConfigError` unless `path` is a folder: what it holds is another question."""
    need(Path(path).is_dir(), key, path, f"no such folder; {remedy}")


def need_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `ConfigError` unless `value` is one of `choices`."""
    need(value in choices, key, value, f"choose one of {', '.join(choices)}")


def one_of(choices: tuple[str, ...], default: str | None = None) -> Any:
    """A field of a dataclass that holds one of `choices`, by default the first.

    `need_choices` checks it; completion and help list the choices.
    """
    return field(default=default or choices[0], metadata={"choices": choices})


def some_of(choices: tuple[str, ...], *default: str) -> Any:
    """A field of a dataclass that holds a list of `choices`; otherwise as `one_of`."""
    return field(default_factory=lambda: list(default), metadata={"choices": choices})


def need_choices(settings: Any, prefix: str = "") -> None:
    """Raises `ConfigError` unless the fields of `one_of` and `some_of` hold their choices.

    `prefix` goes before a field's name in the message: `loss.`.
    """
    for each in fields(settings):
        if choices := each.metadata.get("choices"):
            value = getattr(settings, each.name)
            for one in value if isinstance(value, list) else [value]:
                need_choice(f"{prefix}{each.name}", one, choices)
