"""Reads and type-checks rows of JSON lines; errors name the file and the line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from esr_cli.base import reading
from esr_cli.config import ConfigError

# The expected type in words, and its check.
Kind = tuple[str, Callable[[Any], bool]]


# No figure of a run is larger. Larger ones, infinities and NaN are of no use in means and figures.
LARGEST = 1e15


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and (
        -LARGEST <= value <= LARGEST
    )  # fmt: skip


NUMBER: Kind = ("a number", _is_number)
TEXT: Kind = ("a text", lambda value: isinstance(value, str))
NAME: Kind = ("a text or a number", lambda value: isinstance(value, str) or _is_number(value))
TEXTS: Kind = (
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
)
VERDICTS: Kind = (
    "a list of verdicts",
    lambda value: (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(each, int | float) and 0 <= each <= 1 for each in value)
    ),
)
WHERE = {"step": NUMBER, "benchmark": TEXT}
BOUNDS = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
EVAL = {**WHERE, "metric": TEXT, **BOUNDS, "n": NUMBER, "of": NUMBER}
GENERATIONS = {**WHERE, "id": NAME, "correct": VERDICTS, "responses": TEXTS}
PROBE = {"figure": TEXT, "who": TEXT, "range": TEXT, "at": NUMBER, **BOUNDS}
ENVIRONMENT = {
    "step": NUMBER, **dict.fromkeys(("command", "commit", "versions", "machine", "gpu"), TEXT),
    "teachers": TEXTS,
}  # fmt: skip
PHASES = ("generate", "score", "train", "sync")
OF_ROLLOUTS = ("tokens", "repeat_rate", "eos_rate", "length_mean")
METRICS = {
    "step": NUMBER, "memory/peak_gib": NUMBER, "train/skipped": NUMBER,
    **{f"rollout/{name}": NUMBER for name in OF_ROLLOUTS},
    **{f"time/{phase}_s": NUMBER for phase in (*PHASES, "step")},
}  # fmt: skip
NUMBERS: Kind = (
    "a list of numbers",
    lambda value: (
        isinstance(value, list) and all(each is None or _is_number(each) for each in value)
    ),
)
PROFILE = {"step": NUMBER, "kl": NUMBERS, "count": NUMBERS}
WATCH = dict.fromkeys(
    ("step", "responses", "ended", "repeats", "length_mean", "time/watch_s"), NUMBER
)
# The files of a run that are cut back when it resumes: types by key, and the keys that rows need.
OF_FILE: dict[str, tuple[Mapping[str, Kind], tuple[str, ...]]] = {
    "metrics.jsonl": (METRICS, tuple(METRICS)),
    "eval.jsonl": (EVAL, ("benchmark", "step", "metric", "value", "low", "high", "n")),
    # Questions that could not be judged have no verdicts.
    "generations.jsonl": (GENERATIONS, ("benchmark", "step", "id")),
    "samples.jsonl": (WHERE, ("step",)),
    "kl_by_position.jsonl": (PROFILE, tuple(PROFILE)),
    "watch.jsonl": (WATCH, tuple(WATCH)),
}


def check(folder: Path, step: int) -> None:
    """Raises `ConfigError` if a row of a run's files could not be used on resuming after `step`.

    Later rows are cut off then, so that only their step counts.
    """
    for name, (kinds, needed) in OF_FILE.items():
        for _ in read(folder / name, kinds, needed, step):
            pass


def read(
    path: Path, kinds: Mapping[str, Kind], needed: Iterable[str] = (), until: float = math.inf
) -> Iterator[dict[str, Any]]:
    """Yields the rows of a file one at a time: the responses of a long run may not fit in memory.

    Skips lines that are no JSON objects. Raises `ConfigError` with file, line and value if a value
    has another type than `kinds` gives for its key; absent and null values are allowed, unless they
    are `needed`. Rows of a step after `until` are not checked.
    """
    if not os.path.lexists(path):
        return
    for number, line in reading.lines(path):
        try:
            row = reading.parse(line)
        except reading.BrokenError:
            continue
        if isinstance(row, dict):
            if not _is_number(row.get("step")) or row["step"] <= until:
                _check(row, kinds, needed, f"{path.parent.name}/{path.name} line {number}")
            yield row


def _check(
    row: dict[str, Any], kinds: Mapping[str, Kind], needed: Iterable[str], location: str
) -> None:
    for key, (expected, is_valid) in kinds.items():
        value = row.get(key)
        if value is not None and not is_valid(value):
            raise ConfigError(f"{location}: {key}={json.dumps(value)[:40]} is not {expected}")
    for key in needed:
        if row.get(key) is None:
            raise ConfigError(f"{location}: {key} is missing; it must be {kinds[key][0]}")
