r"""Which kinds of tokens the KL lies in, and which tokens have the highest.

A token's kind follows from its text without outer blanks: `planning` words open a step; a number
holds digits alone; `math_latex` begins with a backslash or is `$`; an operator is one or several of
`+-*/=<>^|~` and their like; `structural` is punctuation, white space and ends of text; all else is
`continuation`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from esr_cli.probes.reads import Read, Rows, row

# The paper's own list, as it is written there.
PLANNING = {"To", "Let", "First", "Step", "We", "Given", "Therefore", "Thus", "Since"}
OPERATORS = re.compile(r"[-+*/=<>^|~%\u00d7\u00f7\u00b1\u00b7\u2264\u2265\u2260\u2248]+")
RANGES = ((0, 4), (5, 19), (20, 49), (50, 99), (100, 199), (200, 499), (500, None))
CATEGORIES = (
    "planning", "structural", "math_number", "math_operator", "math_latex", "continuation"
)  # fmt: skip
# Tokens shown, and how often one must stand in the responses to be among them.
SHOWN, TIMES = 20, 5


def category(token: str) -> str:
    """The kind of a token, by its text."""
    text = token.strip()
    if text in PLANNING:
        return "planning"
    if text.isdigit():
        return "math_number"
    if text[:1] == "\\" or set(text) == {"$"}:
        return "math_latex"
    if OPERATORS.fullmatch(text):
        return "math_operator"
    special = re.fullmatch(r"<\|?[\w/]+\|?>", text)
    if special or not any(character.isalnum() for character in text):
        return "structural"
    return "continuation"


def rows(reads: Sequence[Read], who: str) -> Rows:
    """The mean KL of each category in each range of positions (from 0), and of single tokens."""
    by_place: dict[tuple[str, str], list[float]] = {}
    by_token: dict[str, list[float]] = {}
    for read in reads:
        for at, (token, kl) in enumerate(zip(read.tokens, read.kl.tolist(), strict=True)):
            if np.isfinite(kl):
                by_place.setdefault((category(token), _range(at)), []).append(kl)
                by_token.setdefault(token, []).append(kl)
    found = [
        row("reverse_kl", _mean(values), who=who, category=kind, range=name, n=len(values))
        for kind in CATEGORIES
        for name in map(_name, RANGES)
        if (values := by_place.get((kind, name)))
    ]
    often = {token: values for token, values in by_token.items() if len(values) >= TIMES}
    shown = sorted(often, key=lambda token: -_mean(often[token]))[:SHOWN]
    return found + [
        row("token_kl", _mean(often[token]), who=who, token=token, n=len(often[token]))
        for token in shown
    ]


def _range(at: int) -> str:
    return next(_name(each) for each in RANGES if each[1] is None or at <= each[1])


def _name(span: tuple[int, int | None]) -> str:
    return f"{span[0]}+" if span[1] is None else f"{span[0]}-{span[1]}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def headline(found: Rows) -> str:
    """The tokens with the highest mean KL, in a line."""
    tokens = [r for r in found if r["figure"] == "token_kl" and r["who"] == "before"][:5]
    told = ", ".join(f"{each['token']!r} {each['value']:.2f}" for each in tokens)
    return f"highest mean KL (nats): {told}" if told else "no token stands there five times"
