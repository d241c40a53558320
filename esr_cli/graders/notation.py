r"""Rewrites two answers into notations that math-verify compares: intervals, plus-minus, i."""

from __future__ import annotations

import re

_SIDE = r"([^<>=,;]{1,100}?)"
_LESS = r"(<|\\leq ?)"
_MORE = r"(>|\\geq ?)"
_LETTER = r" ?([a-z]|\\[a-z]+) ?"
_BETWEEN = re.compile(_SIDE + _LESS + _LETTER + _LESS + _SIDE)
_BETWEEN_DOWN = re.compile(_SIDE + _MORE + _LETTER + _MORE + _SIDE)
_BELOW = re.compile(_LETTER + _LESS + _SIDE)
_ABOVE = re.compile(_LETTER + _MORE + _SIDE)
_IS_BELOW = re.compile(_SIDE + _LESS + _LETTER)
_IS_ABOVE = re.compile(_SIDE + _MORE + _LETTER)
_RELATION = re.compile(r"[<>]|\\(?:leq|geq)(?![A-Za-z])")
_INTERVAL = re.compile(r"^[(\[].*,.*[)\]]$")


def aligned(one: str, two: str) -> tuple[str, str]:
    """Returns the two values, an inequality as an interval if the other is one."""
    values = [_complex(_expanded(value)) for value in (one, two)]
    related = [bool(_RELATION.search(value)) for value in values]
    if related[0] != related[1]:
        at = related.index(True)
        if _INTERVAL.match(values[1 - at]):
            values[at] = interval_of(values[at]) or values[at]
    return values[0], values[1]


def interval_of(value: str) -> str:
    """Returns an inequality in one letter as an interval or a union; empty if it is none."""
    parts = [_one_interval(part.strip()) for part in re.split(r" ?\bor\b ?", value)]
    return r"\cup ".join(parts) if all(parts) else ""


def _one_interval(value: str) -> str:
    both = re.split(r" ?\band\b ?|, ", value)
    if len(both) == 2:
        ends = [_bounds(part.strip()) for part in both]
        lows = [low for low, _ in ends if low != OPEN]
        highs = [high for _, high in ends if high != CLOSED]
        return f"{lows[0]},{highs[0]}" if len(lows) == len(highs) == 1 else ""
    low, high = _bounds(value)
    return f"{low},{high}" if (low, high) != (OPEN, CLOSED) else ""


OPEN, CLOSED = r"(-\infty", r"\infty)"


def _bounds(value: str) -> tuple[str, str]:
    """The lower and the upper end, each with its bracket; infinite where there is none."""
    if found := _BETWEEN.fullmatch(value):
        return _low(found[2], found[1]), _high(found[4], found[5])
    if found := _BETWEEN_DOWN.fullmatch(value):
        return _low(found[4], found[5]), _high(found[2], found[1])
    if found := _BELOW.fullmatch(value):
        return OPEN, _high(found[2], found[3])
    if found := _ABOVE.fullmatch(value):
        return _low(found[2], found[3]), CLOSED
    if found := _IS_BELOW.fullmatch(value):
        return _low(found[2], found[1]), CLOSED
    if found := _IS_ABOVE.fullmatch(value):
        return OPEN, _high(found[2], found[1])
    return OPEN, CLOSED


def _low(sign: str, end: str) -> str:
    return ("(" if sign in "<>" else "[") + end.strip()


def _high(sign: str, end: str) -> str:
    return end.strip() + (")" if sign in "<>" else "]")


def _expanded(value: str) -> str:
    """`a\pm b` as the list of both values."""
    if value.count(r"\pm") != 1 or "," in value or r"\mp" in value:
        return value
    plus, minus = (value.replace(r"\pm", sign) for sign in "+-")
    return f"{plus}, {minus}".lstrip("+")


def _complex(value: str) -> str:
    value = re.sub(r"\\cdot ?i(?![A-Za-z])", "i", value)
    return re.sub(r"\+ ?\(-(\d{1,60})\)", r"-\1", value)
