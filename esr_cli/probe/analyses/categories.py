r"""The KL by category of token, and the tokens with the highest KL.

The category depends on the token's text, stripped of white space:

- `planning`: words that open a step
- `math_number`: digits only
- `math_latex`: delimiters of LaTeX, `\(`, `\)`, `\[`, `\]` and `$`, without a letter or digit
- `math_operator`: one or several of `+-*/=<>^|~` and similar signs
- `structural`: punctuation, white space and end-of-text tokens
- `continuation`: everything else, LaTeX commands and their backslashes included
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from esr_cli.base.statistics import Interval, interval, resampled_sums, summed_by
from esr_cli.probe.analyses.reads import Read, Rows, questions, row

# The paper's list, unchanged.
PLANNING = {"To", "Let", "First", "Step", "We", "Given", "Therefore", "Thus", "Since"}
# Neither the line break of `\\[2pt]` nor the dollar sign of `\$5` is a delimiter.
DELIMITER = re.compile(r"(?<!\\)(\\[()\[\]]|\$)")
OPERATORS = re.compile(r"[-+*/=<>^|~%\u00d7\u00f7\u00b1\u00b7\u2264\u2265\u2260\u2248]+")
RANGES = ((0, 4), (5, 19), (20, 49), (50, 99), (100, 199), (200, 499), (500, None))
CATEGORIES = (
    "planning", "structural", "math_number", "math_operator", "math_latex", "continuation"
)  # fmt: skip
# The number of tokens shown; a token needs this many occurrences in this many responses.
SHOWN, TIMES, RESPONSES = 20, 5, 2


def category(token: str) -> str:
    """The category of a token, by its text."""
    text = token.strip()
    if text in PLANNING:
        return "planning"
    if text.isdigit():
        return "math_number"
    has_alnum = any(character.isalnum() for character in text)
    if DELIMITER.search(text) and not has_alnum:
        return "math_latex"
    if "\\" in text:
        return "continuation"
    if OPERATORS.fullmatch(text):
        return "math_operator"
    special = re.fullmatch(r"<\|?[\w/]+\|?>", text)
    if special or not has_alnum:
        return "structural"
    return "continuation"


def rows(reads: Sequence[Read], who: str) -> Rows:
    """The mean KL of each category in each range of positions (0-based), and of single tokens.

    Intervals are over questions.
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
    frequent = [
        key for key, in_responses in tally.sums.items()
        if key[0] == "token" and tally.n(key) >= TIMES and len(in_responses) >= RESPONSES
    ]  # fmt: skip
    shown = sorted(frequent, key=lambda key: -tally.value(key))[:SHOWN]
    return found + [
        row("token_kl", tally.mean(key, asked), who=who, token=key[1], n=tally.n(key))
        for key in shown
    ]


class Tally:
    """The sum and the number of values, by key and response."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, ...], dict[int, list[float]]] = {}

    def add(self, key: tuple[str, ...], response: int, value: float) -> None:
        """Adds a value."""
        total = self.sums.setdefault(key, {}).setdefault(response, [0.0, 0.0])
        total[0] += value
        total[1] += 1

    def n(self, key: tuple[str, ...]) -> int:
        """The number of values."""
        return int(sum(count for _, count in self.sums[key].values()))

    def value(self, key: tuple[str, ...]) -> float:
        """The mean of the values."""
        return sum(total for total, _ in self.sums[key].values()) / self.n(key)

    def mean(self, key: tuple[str, ...], asked: Sequence[str]) -> Interval:
        """The mean with its interval; `asked` is the question of each response."""
        sums_N2 = np.zeros((len(asked), 2))
        for response, total in self.sums[key].items():
            sums_N2[response] = total
        resampled_S2 = resampled_sums(summed_by(asked, sums_N2))
        # A resample may contain no question that has such tokens.
        with np.errstate(divide="ignore", invalid="ignore"):
            return interval(self.value(key), resampled_S2[:, 0] / resampled_S2[:, 1])


def _range(at: int) -> str:
    return next(_name(each) for each in RANGES if each[1] is None or at <= each[1])


def _name(span: tuple[int, int | None]) -> str:
    return f"{span[0]}+" if span[1] is None else f"{span[0]}-{span[1]}"


def headline(found: Rows) -> str:
    """The tokens with the highest mean KL, in one line."""
    tokens = [r for r in found if r["figure"] == "token_kl" and r["who"] == "before"][:5]
    listed = ", ".join(f"{each['token']!r} {each['value']:.2f}" for each in tokens)
    if not listed:
        return f"no token occurs {TIMES} times in at least {RESPONSES} responses"
    return f"highest mean KL (nats): {listed}"
