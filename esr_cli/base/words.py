"""Words of messages."""

from __future__ import annotations


def counted(count: float, noun: str) -> str:
    """A whole number of things: `1 question`, `1,319 questions`."""
    return f"{count:,.0f} {noun}" + ("" if count == 1 else "s")
