"""Words of messages."""

from __future__ import annotations


def counted(count: float, noun: str) -> str:
    """A whole number of things: `1 question`, `1,319 questions`."""
    return f"{count:,.0f} {noun}" + ("" if count == 1 else "s")


def numbered(name: str, index: int) -> str:
    """The name of one of several: the first has the plain name, the next is `engine 2`."""
    return f"{name} {index + 1}" if index else name
