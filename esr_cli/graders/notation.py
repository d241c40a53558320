r"""Reads inequalities in one letter as intervals: `1 \leq x < 3` is `[1,3)`, `x \neq 2` a union."""

from __future__ import annotations

import re

OPEN, CLOSED = r"(-\infty", r"\infty)"
_SIDE = r"([^<>=,;]{1,100}?)"
_LESS = r"(<|\\leq ?)"
_MORE = r"(>|\\geq ?)"
_LETTER = r" ?([a-z]|\\[a-z]+) ?"
_ABSOLUTE = re.compile(r"\|" + _LETTER + r"\| ?(<|>|\\leq|\\geq) ?([^<>=,;|+-]{1,60})")
_POINT = re.compile(_LETTER + "=" + _SIDE)
_BUILT = re.compile(
    r"\\\{"
    + _LETTER
    + r"(?:\\in ?\\mathbb ?\{?R\}? ?)?(?:[:|]|\\mid(?![A-Za-z])) ?(.{1,200}?) ?\\\}"
)
_NOT = re.compile(_LETTER + r"\\neq ?" + _SIDE)
_BARE_LETTER = re.compile(r" ?[A-Za-df-z] ?")
# Each pattern with the numbers of its groups: the letter; lower sign, end; upper sign, end.
_PATTERNS = [
    (re.compile(pattern), groups)
    for pattern, groups in (
        (_SIDE + _LESS + _LETTER + _LESS + _SIDE, (3, 2, 1, 4, 5)),
        (_SIDE + _MORE + _LETTER + _MORE + _SIDE, (3, 4, 5, 2, 1)),
        (_LETTER + _LESS + _SIDE, (1, 0, 0, 2, 3)),
        (_LETTER + _MORE + _SIDE, (1, 2, 3, 0, 0)),
        (_SIDE + _LESS + _LETTER, (3, 2, 1, 0, 0)),
        (_SIDE + _MORE + _LETTER, (3, 0, 0, 2, 1)),
    )
]


def interval_of(value: str) -> tuple[str, str]:
    """Returns the letter and the interval or union of intervals; both empty if it is neither."""
    if found := _NOT.fullmatch(value):
        end = found[2].strip()
        return found[1], rf"{OPEN},{end})\cup ({end},{CLOSED}"
    if found := _BUILT.fullmatch(value):
        letter, interval = interval_of(found[2])
        return (letter, interval) if letter == found[1] else ("", "")
    found = _ABSOLUTE.fullmatch(value)
    if found and not _BARE_LETTER.fullmatch(found[3]):
        sign, end = found[2], found[3]
        left, right = ("(", ")") if sign in "<>" else ("[", "]")
        if sign in ("<", r"\leq"):
            return found[1], f"{left}-{end},{end}{right}"
        return found[1], rf"{OPEN},-{end}{right}\cup {left}{end},{CLOSED}"
    parts = [_one_interval(part.strip()) for part in re.split(r"\\text\{ ?or ?\}|\bor\b", value)]
    letters = {letter for letter, _ in parts}
    points = all(text.startswith(r"\{") for _, text in parts)
    if len(letters) != 1 or "" in letters or points:
        return "", ""
    return letters.pop(), r"\cup ".join(text for _, text in parts)


def _one_interval(value: str) -> tuple[str, str]:
    if found := _POINT.fullmatch(value):
        return found[1], rf"\{{{found[2].strip()}\}}"
    both = re.split(r"\\text\{ ?and ?\}|\band\b|, ?", value)
    if len(both) == 2 and (hole := _NOT.fullmatch(both[1].strip())):
        letter, interval = _one_interval(both[0].strip())
        low, _, high = interval.partition(",")
        end = hole[2].strip()
        return (letter, rf"{low},{end})\cup ({end},{high}") if letter == hole[1] else ("", "")
    ends = [_bounds(part.strip()) for part in both]
    lows = [low for _, low, _ in ends if low != OPEN] or [OPEN]
    highs = [high for *_, high in ends if high != CLOSED] or [CLOSED]
    letters = {letter for letter, *_ in ends}
    if len(ends) > 2 or len(letters) != 1 or "" in letters or len(lows) + len(highs) != 2:
        return "", ""
    return letters.pop(), f"{lows[0]},{highs[0]}"


def _bounds(value: str) -> tuple[str, str, str]:
    """The letter and the two ends, each with its bracket, infinite where there is none."""
    for pattern, (letter, low, low_end, high, high_end) in _PATTERNS:
        found = pattern.fullmatch(value)
        ends = [found[at].strip() for at in (low_end, high_end) if at] if found else []
        if found is None or any(map(_BARE_LETTER.fullmatch, ends)):
            continue
        left = ("(" if found[low] in "<>" else "[") + found[low_end].strip() if low else OPEN
        right = found[high_end].strip() + (")" if found[high] in "<>" else "]") if high else CLOSED
        return found[letter], left, right
    return "", OPEN, CLOSED
