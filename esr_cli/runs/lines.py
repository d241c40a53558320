"""Rows of JSON lines as a report needs them: what is of another type is told by file and line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# What a value must be, in words, and whether it is.
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
    """The rows of a file, one at a time: responses of long runs are larger than memory may be.

    What is no row is passed by, and so is a value that is absent or null. Raises ValueError with
    file, line and value where one that `kinds` names is of another type.
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


def _check(row: dict[str, Any], kinds: Mapping[str, Kind], where: str) -> None:
    for key, (words, holds) in kinds.items():
        value = row.get(key)
        if value is not None and not holds(value):
            raise ValueError(f"{where}: {key}={json.dumps(value)[:40]} is not {words}")
