r"""Which kinds of tokens the KL lies in, and which tokens have the highest.

A token's kind follows from its text without outer blanks: `planning` words open a step; a number
holds digits alone; `math_latex` holds a backslash or a `$`, wherever it stands; an operator is one
or several of `+-*/=<>^|~` and their like; `structural` is punctuation, white space and ends of
text; all else is `continuation`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from esr_cli.base.statistics import Interval, interval, resampled_sums, summed_by
from esr_cli.probe.analyses.reads import Read, Rows, questions, row

# The paper's own list, as it is written there.
PLANNING = {"To", "Let", "First", "Step", "We", "Given", "Therefore", "Thus", "Since"}
OPERATORS = re.compile(r"[-+*/=<>^|~%\u00d7\u00f7\u00b1\u00b7\u2264\u2265\u2260\u2248]+")
RANGES = ((0, 4), (5, 19), (20, 49), (50, 99), (100, 199), (200, 499), (500, None))
CATEGORIES = (
    "planning", "structural", "math_number", "math_operator", "math_latex", "continuation"
)  # fmt: skip
# Tokens shown; how often, and in how many responses, one must stand to be among them.
SHOWN, TIMES, RESPONSES = 20, 5, 2


def category(token: str) -> str:
    """The kind of a token, by its text."""
    text = token.strip()
    if text in PLANNING:
        return "planning"
    if text.isdigit():
        return "math_number"
    if "\\" in text or "$" in text:
        return "math_latex"
    if OPERATORS.fullmatch(text):
        return "math_operator"
    special = re.fullmatch(r"<\|?[\w/]+\|?>", text)
    if special or not any(character.isalnum() for character in text):
        return "structural"
    return "continuation"


def rows(reads: Sequence[Read], who: str) -> Rows:
    """The mean KL of each category in each range of positions (from 0), and of single tokens.

    Intervals over questions.
    """
    tally = Tally()
    for number, read in enumerate(reads):
        for at, (token, kl) in enumerate(zip(read.tokens, read.kl.tolist(), strict=True)):
            if np.isfinite(kl):
                tally.add(("place", category(token), _range(at)), number, kl)
                tally.add(("token", token), number, kl)
    asked = questions(reads)
    found = [
        row(
            "reverse_kl", tally.mean(key, asked), who=who, category=kind, range=name, n=tally.n(key)
        )
        for kind in CATEGORIES
        for name in map(_name, RANGES)
        if (key := ("place", kind, name)) in tally.sums
    ]
    often = [
        key for key, in_responses in tally.sums.items()
        if key[0] == "token" and tally.n(key) >= TIMES and len(in_responses) >= RESPONSES
    ]  # fmt: skip
    shown = sorted(often, key=lambda key: -tally.value(key))[:SHOWN]
    return found + [
        row("token_kl", tally.mean(key, asked), who=who, token=key[1], n=tally.n(key))
        for key in shown
    ]


class Tally:
    """By key the sum of values, and their number, in each response that has any."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, ...], dict[int, list[float]]] = {}

    def add(self, key: tuple[str, ...], response: int, value: float) -> None:
        """One value more."""
        total = self.sums.setdefault(key, {}).setdefault(response, [0.0, 0.0])
        total[0] += value
        total[1] += 1

    def n(self, key: tuple[str, ...]) -> int:
        """How many values there are."""
        return int(sum(count for _, count in self.sums[key].values()))

    def value(self, key: tuple[str, ...]) -> float:
        """Their mean."""
        return sum(total for total, _ in self.sums[key].values()) / self.n(key)

    def mean(self, key: tuple[str, ...], asked: Sequence[str]) -> Interval:
        """The same with its interval over the questions `asked`, one a response."""
        sums_N2 = np.zeros((len(asked), 2))
        for response, total in self.sums[key].items():
            sums_N2[response] = total
        drawn_S2 = resampled_sums(summed_by(asked, sums_N2))
        # A draw may hold none of the few questions that have such tokens.
        with np.errstate(divide="ignore", invalid="ignore"):
            return interval(self.value(key), drawn_S2[:, 0] / drawn_S2[:, 1])


def _range(at: int) -> str:
    return next(_name(each) for each in RANGES if each[1] is None or at <= each[1])


def _name(span: tuple[int, int | None]) -> str:
    return f"{span[0]}+" if span[1] is None else f"{span[0]}-{span[1]}"


def headline(found: Rows) -> str:
    """The tokens with the highest mean KL, in a line."""
    tokens = [r for r in found if r["figure"] == "token_kl" and r["who"] == "before"][:5]
    told = ", ".join(f"{each['token']!r} {each['value']:.2f}" for each in tokens)
    return (
        f"highest mean KL (nats): {told}"
        if told
        else "no token stands in two responses, five times"
    )
