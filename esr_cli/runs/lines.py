"""Reads and type-checks rows of JSON lines; errors name the file and the line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# The expected type in words, and its check.
Kind = tuple[str, Callable[[Any], bool]]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


NUMBER: Kind = ("a number", _is_number)
TEXT: Kind = ("a text", lambda value: isinstance(value, str))
NAME: Kind = ("a text or a number", lambda value: isinstance(value, str) or _is_number(value))
TEXTS: Kind = (
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
)
VERDICTS: Kind = (
    "a list of verdicts",
    lambda value: isinstance(value, list) and all(isinstance(each, int | float) for each in value),
)
WHERE = {"step": NUMBER, "benchmark": TEXT}
BOUNDS = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
EVAL = {**WHERE, "metric": TEXT, **BOUNDS}
GENERATIONS = {**WHERE, "id": NAME, "correct": VERDICTS, "responses": TEXTS}
PROBE = {"figure": TEXT, "who": TEXT, "range": TEXT, "at": NUMBER, **BOUNDS}
PHASES = ("generate", "score", "train", "sync")
METRICS = {
    "step": NUMBER, "rollout/tokens": NUMBER, "memory/peak_gib": NUMBER,
    **{f"time/{phase}_s": NUMBER for phase in (*PHASES, "step")},
}  # fmt: skip


def read(path: Path, kinds: Mapping[str, Kind]) -> Iterator[dict[str, Any]]:
    """Yields the rows of a file one at a time: the responses of a long run may not fit in memory.

    Skips lines that are no JSON objects. Raises ValueError with file, line and value if a value has
    another type than `kinds` gives for its key; absent and null values are allowed.
    """
    if not path.is_file():
        return
    with path.open(errors="replace") as file:
        for number, line in enumerate(file, 1):
            row = None
            with contextlib.suppress(json.JSONDecodeError):
                row = json.loads(line)
            if isinstance(row, dict):
                _check(row, kinds, f"{path.parent.name}/{path.name} line {number}")
                yield row


def _check(row: dict[str, Any], kinds: Mapping[str, Kind], location: str) -> None:
    for key, (expected, is_valid) in kinds.items():
        value = row.get(key)
        if value is not None and not is_valid(value):
            raise ValueError(f"{location}: {key}={json.dumps(value)[:40]} is not {expected}")
