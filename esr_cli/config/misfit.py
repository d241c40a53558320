"""Which value has a wrong type, in a line for users; OmegaConf says only that one has."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from esr_cli.base.words import as_typed

# What a type asks for; of several the first one says enough.
ASKED = {
    bool: "give true or false", int: "give a whole number", float: "give a number",
    str: "give a text",
}  # fmt: skip
# A text stands for these, too: a variable of the environment gives nothing else.
WHOLE = re.compile(r"[-+]?\d+").fullmatch
TRUTH = re.compile(r"(?i)(true|false|yes|no|on|off|y|n|1|0)").fullmatch


def line(value: Any, hint: Any, key: str = "") -> str:
    """`key=value: give a whole number` for the first value in `value` that does not fit its type
    `hint`; empty if all do.
    """
    return next(_misfits(value, hint, key), "")


def _misfits(value: Any, hint: Any, key: str) -> Iterator[str]:
    kinds = get_args(hint) if NoneType in get_args(hint) or not get_origin(hint) else (hint,)
    kinds = kinds or (hint,)
    inner = next((each for each in kinds if get_origin(each) or dataclasses.is_dataclass(each)), 0)
    if Any in kinds or (value is None and NoneType in kinds):
        return
    if inner and isinstance(value, list if get_origin(inner) is list else dict):
        yield from _inside(value, inner, key)
    elif inner:
        yield f"{key}={as_typed(value)}: {_wanted(value, inner, key)}"
    elif not any(_fits(value, kind) for kind in kinds):
        asked = next((ASKED[kind] for kind in kinds if kind in ASKED), "give another value")
        asked += " or null" if NoneType in kinds else ""
        if isinstance(value, list) and value:
            several = ",".join(as_typed(each) for each in value)
            asked = f"takes one value; several are a sweep, -m {key}={several}"
            asked = asked if len(value) > 1 else f"takes one value, {key}={several}"
        yield f"{key}={as_typed(value)}: {asked}"


def _inside(value: Any, hint: Any, key: str) -> Iterator[str]:
    """The misfits in a list or a mapping."""
    if get_origin(hint) is list:
        for each in value:
            yield from _misfits(each, get_args(hint)[0], key)
        return
    hints = get_type_hints(hint) if dataclasses.is_dataclass(hint) else {}
    for name, each in value.items():
        yield from _misfits(
            each, hints.get(name, Any) if hints else get_args(hint)[1], f"{key}.{name}".lstrip(".")
        )


def _wanted(value: Any, hint: Any, key: str) -> str:
    if get_origin(hint) is list:
        inside = {dict: "…", NoneType: ""}.get(type(value), as_typed(value))
        return f"takes a list, {key}=[{inside}]"
    name = next(iter(get_type_hints(hint))) if dataclasses.is_dataclass(hint) else "NAME"
    return f"holds settings; give {key}.{name}=…"


def _fits(value: Any, kind: Any) -> bool:
    if kind is bool:
        return isinstance(value, bool | int) or bool(isinstance(value, str) and TRUTH(value))
    if isinstance(value, bool):
        return kind is str
    if kind is int:
        return isinstance(value, int) or bool(isinstance(value, str) and WHOLE(value))
    if kind is float:
        return isinstance(value, int | float | str) and _is_number(value)
    return kind is str and isinstance(value, str | int | float)


def _is_number(value: int | float | str) -> bool:
    try:
        float(value)
    except (ValueError, OverflowError):
        return False
    return True
