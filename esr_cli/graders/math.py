r"""The grader of math answers: compares the last or the first box with the gold answer.

Boxes are parsed into typed forms (see `forms`) and compared item by item (see `equality`). Where
only algebra can tell whether two expressions are equal, processes that can be killed decide with
math-verify (see `algebra`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from esr_cli.graders.algebra import Question, make_check
from esr_cli.graders.boxed import MOST_CHARS, boxes, marked
from esr_cli.graders.equality import equal
from esr_cli.graders.forms import LIST, Collection, read
from esr_cli.graders.latex import spell
from esr_cli.graders.normal import Answer, normal
from esr_cli.graders.pool import Outcome, Pool
from esr_cli.types import Grade

MOST_BOXES, MOST_SEARCHED = 4, 1000
# Two texts, and whether either may be the gold.
Pair = tuple[str, str, bool]


class MathGrader:
    """Grades boxed answers against gold answers; the module docstring defines equality.

    `workers` processes (default: one per core) compare pairs, each for at most `seconds` of CPU
    time. The reference is the gold answer as text. Verdicts are cached for the grader's lifetime.
    `box` is the one whose verdict counts, `last` or `first`; `marked` is the last one or, without
    any, what follows `####`.
    """

    def __init__(self, workers: int | None = None, seconds: float = 10, box: str = "last") -> None:
        self._first, self._boxes = box == "first", marked if box == "marked" else boxes
        self._pool = Pool(make_check, workers, seconds)
        self._known: dict[Pair, Outcome] = {}
        self.asked = 0

    def grade(self, pairs: Sequence[tuple[str, Any]]) -> list[Grade]:
        """Grades each (response, gold answer); a hostile response affects only its own verdict.

        `answer` is the graded box in normal form. The last box also counts as correct if the gold
        is a list and all boxes together hold its values. `also` holds three verdicts. `boxed`:
        there is a box. `first_boxed` (or `last_boxed`, if the first is graded): the other box is
        correct. `anywhere`: the first box or one of the last three is correct, any box equals the
        gold in normal form, or the response contains the gold's value in the same spelling without
        an adjacent letter, digit, decimal point or minus.
        """
        held = [self._boxes(response) for response, _ in pairs]
        joins = [_joined(str(gold), found) for (_, gold), found in zip(pairs, held, strict=True)]
        self._compare(
            (str(gold), box, False)
            for (_, gold), found, joined in zip(pairs, held, joins, strict=True)
            for box in (*_compared_boxes(found), *joined)
        )
        return [
            self._grade(response, str(gold), found, joined)
            for (response, gold), found, joined in zip(pairs, held, joins, strict=True)
        ]

    def equal(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Returns whether the two answers of each pair are equal with either one as the gold."""
        keys = [(min(pair), max(pair), True) for pair in pairs]
        self._compare(keys)
        return [bool(self._known[key].value) for key in keys]

    def close(self) -> None:
        """Kills the worker processes."""
        self._pool.close()

    def _compare(self, keys: Iterable[Pair]) -> None:
        """Fills `_known` for the keys (gold, answer, whether either may be the gold)."""
        questions: dict[Pair, Question] = {}
        for key in dict.fromkeys(keys):
            if key in self._known:
                continue
            gold, answer = read(key[0]), read(key[1])
            try:
                self._known[key] = Outcome(equal(gold, answer, _undecided))
            except _Undecided:
                questions[key] = (gold, answer, key[2])
        new = list(dict.fromkeys(questions.values()))
        self.asked += len(new)
        outcomes = dict(zip(new, self._pool.map(new), strict=True))
        self._known.update((key, outcomes[asked]) for key, asked in questions.items())

    def _grade(self, response: str, gold: str, found: list[str], joins: list[str]) -> Grade:
        verdicts = [self._known[gold, box, False] for box in _compared_boxes(found)]
        wanted = normal(gold)
        last, first = found[-1] if found else "", found[0] if found else ""
        last_right, first_right = (
            bool(found) and bool(self._known[gold, box, False].value) for box in (last, first)
        )
        for joined in joins:
            if not last_right and self._known[gold, joined, False].value:
                last_right, last = True, joined
        anywhere = (
            any(verdict.value for verdict in verdicts)
            or any(wanted.same(normal(box)) for box in dict.fromkeys(found[-MOST_SEARCHED:]))
            or bool(wanted.plain and value_pattern(wanted).search(spell(response[-MOST_CHARS:])))
        )
        right, answer, other, name = last_right, last, first_right, "first_boxed"
        if self._first:
            right, answer, other, name = first_right, first, last_right, "last_boxed"
        also = {name: other, "anywhere": anywhere, "boxed": bool(found)}
        if not found:
            return Grade(False, "no box", None, also)
        failure = self._known[gold, answer, False].failure
        reason = "right" if right else failure or _short(answer, gold)
        return Grade(right, reason, normal(answer).text, also)


class _Undecided(Exception):
    """Only algebra can tell."""


def _undecided(one: str, two: str) -> bool:
    raise _Undecided


def value_pattern(answer: Answer) -> re.Pattern[str]:
    """Returns a pattern that finds the value in spelled text with nothing attached to it."""
    pieces = re.findall(r"\\[A-Za-z]+|\d+|\S", answer.plain)
    body = r" ?".join(map(re.escape, pieces))
    return re.compile(rf"(?<![A-Za-z\d\\-])(?<!\d[.,]){body}(?![A-Za-z\d])(?![.,]\d)")


def _compared_boxes(found: list[str]) -> list[str]:
    return list(dict.fromkeys([*found[:1], *found[1 - MOST_BOXES :]]))


def _joined(gold: str, found: list[str]) -> list[str]:
    """The boxes as one list, if the gold answer is a list of as many values: one box a value."""
    if len(found) < 2 or not all(box and "," not in box for box in found):
        return []
    form = read(gold)
    listed = isinstance(form, Collection) and form.kind == LIST and len(form.items) == len(found)
    return [", ".join(found)] if listed else []


def _short(answer: str, gold: str, longest: int = 40) -> str:
    shown = (" ".join(text.split()) for text in (answer, gold))
    one, two = (text if len(text) <= longest else text[: longest - 1] + "…" for text in shown)
    return f"{one or 'an empty box'}, not {two}"
