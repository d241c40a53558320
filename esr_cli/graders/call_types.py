"""A function call, the limits of what is read, and the JSON that all forms of a call share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_CHARS = 20_000
MAX_DEPTH = 32


class CallError(ValueError):
    """The text is not a function call; the message is a short reason."""


class Untyped(str):
    """The text of a value in a form without types (XML); the function's description decides."""

    __slots__ = ()


@dataclass(frozen=True)
class Call:
    """One function call; a Python tuple in `arguments` stays a tuple."""

    name: str
    arguments: Mapping[str, Any]


def dict_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dictionary of the pairs; raises CallError if a key occurs twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise CallError("duplicate key")
    return found


def _refuse_constant(constant: str) -> NoReturn:
    raise CallError(f"{constant} is no JSON")


DECODER = json.JSONDecoder(object_pairs_hook=dict_of, parse_constant=_refuse_constant)


def decode(text: str, start: int = 0) -> tuple[Any, int]:
    """Returns the JSON value at `start` and the index of its end."""
    try:
        return DECODER.raw_decode(text, start)
    except CallError:
        raise
    except ValueError:
        raise CallError("malformed JSON") from None


def validated(value: Any, depth: int = 0) -> Any:
    """Returns the JSON value unchanged after checking its depth and its numbers."""
    if depth > MAX_DEPTH:
        raise CallError("nested too deep")
    if isinstance(value, dict):
        return {key: validated(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [validated(item, depth + 1) for item in value]
    return validated_scalar(value)


def validated_scalar(value: Any) -> Any:
    """Returns the value unchanged; raises CallError unless it is text or a finite number."""
    if value is not None and not isinstance(value, str | int | float):
        raise CallError(f"{type(value).__name__} is no argument")
    try:
        finite = not isinstance(value, int | float) or math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise CallError("number out of range")
    return value
