"""A lenient comparison of an argument with the values that a key allows.

- Numbers compare as floats, also one that a string spells: 5, 5.0 and "5" are equal. A boolean is
  no number.
- Anything else compares as its case-folded text without outer blanks: "Paris" and "paris", True and
  "true". BFCL's own comparison also ignores inner blanks and punctuation; this one does not.
- Lists and tuples compare item by item, whatever the described type.
- A dict must have the keys of an allowed one, whose values are lists of allowed values; a key may
  be missing if `""` is among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def among(value: Any, options: Sequence[Any]) -> bool:
    """Returns whether the value equals one of the allowed ones."""
    return any(_alike(value, option) for option in options)


def _alike(value: Any, option: Any) -> bool:
    if isinstance(option, dict):
        return isinstance(value, dict) and _dicts_alike(value, option)
    if isinstance(option, list | tuple):
        same_length = isinstance(value, list | tuple) and len(value) == len(option)
        return same_length and all(map(_alike, value, option))
    return not isinstance(value, dict | list | tuple) and _scalar(value) == _scalar(option)


def _dicts_alike(value: dict[str, Any], option: dict[str, Any]) -> bool:
    # A dict within an allowed dict may hold a bare value.
    allowed = {key: each if isinstance(each, list) else [each] for key, each in option.items()}
    given = all(key in allowed and among(item, allowed[key]) for key, item in value.items())
    return given and all(key in value or "" in allowed[key] for key in allowed)


def _scalar(value: Any) -> float | str:
    text = str(value).strip().casefold()
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
