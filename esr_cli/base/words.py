"""Words of messages."""

from __future__ import annotations

from typing import Any


def counted(count: float, noun: str) -> str:
    """A whole number of things: `1 question`, `1,319 questions`."""
    return f"{count:,.0f} {noun}" + ("" if count == 1 else "s")


def numbered(name: str, index: int) -> str:
    """The name of one of several: the first has the plain name, the next is `engine 2`."""
    return f"{name} {index + 1}" if index else name


def as_typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{', '.join(as_typed(each) for each in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_typed(each)}" for key, each in value.items()) + "}"
    return str(value)
