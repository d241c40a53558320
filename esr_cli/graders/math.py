r"""The grader of math answers: what the last box holds against the gold answer.

Equal in normal form (see `normal`) is right. What is left goes to math-verify, `verify(gold,
answer)` with the gold first, in processes that can be killed. Seen to call unequal answers equal,
math-verify is not asked (the normal forms alone decide) where

- both are numbers, or the units or names contradict each other (`5\text{ cm}`, `5\text{ m}`);
- a number has a base (`52_8`), or two numbers stand side by side (`3 4`, which it adds);
- there is a prime or an `\approx`, which it drops, or one letter as `R` and as `r`, which it
  merges;
- one of the two is words, whose letters it multiplies (`east`, `seat`);
- they list a different number of values (`3, 4, and 5` against `5`, `5, 5` against `5`);
- both are bracketed, but not alike: `(1,2)`, `[1,2]`, `\{1,2\}`. A bare list may be a set; against
  round brackets it takes them, so that the order counts.

It reads LaTeX only, without its search for a bare number in what does not parse (`3\uparrow5`),
and without its own dropping of units (`5t`). A `)(` is a product there, not a sum. Two values that
it calls equal must also agree to twelve digits of their own size (six where a decimal is involved),
or else differ by an exact zero: it rounds `\frac1{2004!}` and `\frac1{2006!}` to 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from esr_cli.graders.boxed import boxes
from esr_cli.graders.normal import Answer, is_words, normal, spell
from esr_cli.graders.pool import Outcome, Pool
from esr_cli.types import Grade

MOST_BOXES = 4
SIX_DIGITS, TWELVE_DIGITS = 5e-6, 1e-12
Question = tuple[str, str, bool]

_SILENT = re.compile(r"\d[\dA-F]*\)?_|\d \d|'|\\prime|\\approx")
_BRACKET = re.compile(r"\\[{}]|[()[\]{}]|[,;]| ?\b(?:and|or)\b ?|\\begin|\\end")
_ORDER = re.compile(r"[<>]|\\(?:leq|geq|neq|cup|cap)(?![A-Za-z])")
_PRODUCT = re.compile(r"(?<=[\d)])(?=\()|(?<=\))(?=\d)")


class MathGrader:
    """Grades boxed answers against gold answers; see the module for what counts as equal.

    `workers` processes (default: one a core) compare, each pair for at most `seconds` of wall
    clock. The gold is right by its value: `reference` is its text. Verdicts are kept, so that a
    pair is compared once in the grader's life.
    """

    def __init__(self, workers: int | None = None, seconds: float = 10) -> None:
        self._pool = Pool(make_check, workers, seconds)
        self._known: dict[Question, Outcome] = {}
        self.asked = 0

    def grade(self, pairs: Sequence[tuple[str, Any]]) -> list[Grade]:
        """A verdict for each (response, gold answer); a hostile response costs itself alone.

        `answer` is the last box in normal form. `also` holds `boxed`, whether there is a box;
        `first_boxed`, whether the first box is right; `anywhere`, whether a box among the first or
        the last three is right, any box equals the gold in normal form, or the gold's value stands
        in the response, spelled alike, with no letter, digit, decimal point or minus attached.
        """
        held = [boxes(response) for response, _ in pairs]
        self._compare(
            (str(gold), box, False)
            for (_, gold), found in zip(pairs, held, strict=True)
            for box in _asked_boxes(found)
        )
        return [
            self._grade(response, str(gold), found)
            for (response, gold), found in zip(pairs, held, strict=True)
        ]

    def equal(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether the two answers of each pair are equal, whichever is taken for the gold."""
        keys = [(min(pair), max(pair), True) for pair in pairs]
        self._compare(keys)
        return [bool(self._known[key].value) for key in keys]

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()

    def _compare(self, keys: Iterable[Question]) -> None:
        """Fills `_known` for the keys: gold, answer, and whether either may be the gold."""
        questions: dict[Question, Question] = {}
        for key in dict.fromkeys(keys):
            if key in self._known:
                continue
            gold, answer = normal(key[0]), normal(key[1])
            texts = None if gold.same(answer) else question(gold, answer)
            if texts is None:
                self._known[key] = Outcome(gold.same(answer))
            else:
                questions[key] = (*texts, key[2])
        new = list(dict.fromkeys(questions.values()))
        self.asked += len(new)
        outcomes = dict(zip(new, self._pool.map(new), strict=True))
        self._known.update((key, outcomes[asked]) for key, asked in questions.items())

    def _grade(self, response: str, gold: str, found: list[str]) -> Grade:
        verdicts = [self._known[gold, box, False] for box in _asked_boxes(found)]
        wanted = normal(gold)
        right = bool(found) and bool(self._known[gold, found[-1], False].value)
        anywhere = (
            any(verdict.value for verdict in verdicts)
            or any(wanted.same(normal(box)) for box in dict.fromkeys(found))
            or bool(wanted.plain and standing(wanted).search(spell(response)))
        )
        also = {
            "first_boxed": bool(found) and bool(self._known[gold, found[0], False].value),
            "anywhere": anywhere,
            "boxed": bool(found),
        }
        if not found:
            return Grade(False, "no box", None, also)
        failure = self._known[gold, found[-1], False].failure
        reason = "right" if right else failure or _short(found[-1], gold)
        return Grade(right, reason, normal(found[-1]).text, also)


def question(gold: Answer, answer: Answer) -> tuple[str, str] | None:
    """What math-verify is asked about the two; None where it must not be."""
    one, two = gold.plain, answer.plain
    numbers = gold.number is not None and answer.number is not None
    if not one or not two or numbers or (gold.unit and answer.unit and gold.unit != answer.unit):
        return None
    if any(_SILENT.search(value) or is_words(value) or _two_cases(value) for value in (one, two)):
        return None
    if (gold.name and answer.name and gold.name != answer.name) or "=" in one + two:
        # Under another name it may still be the same equation: y=2x, x=y/2 and 2x-y=0.
        named = ((gold.name, one), (answer.name, two))
        one, two = (f"{name}={value}" if name else value for name, value in named)
    if not any(_ORDER.search(value) for value in (one, two)):
        (kind, count), (other_kind, other_count) = _list_of(one), _list_of(two)
        if count != other_count:
            return None
        if {kind, other_kind} == {"", "()"}:
            one, two = (
                text if own else f"({text})" for text, own in ((one, kind), (two, other_kind))
            )
        elif kind != other_kind and {kind, other_kind} != {"", r"\{\}"}:
            return None
    return _PRODUCT.sub(r"\\cdot ", one), _PRODUCT.sub(r"\\cdot ", two)


def standing(answer: Answer) -> re.Pattern[str]:
    """Finds the answer's value in a spelled text, nothing that would change it attached."""
    pieces = re.findall(r"\\[A-Za-z]+|\d+|\S", answer.plain)
    body = r" ?".join(map(re.escape, pieces))
    return re.compile(rf"(?<![A-Za-z\d\\-])(?<!\d[.,]){body}(?![A-Za-z\d])(?![.,]\d)")


def make_check() -> Callable[[Question], bool]:
    """What a worker asks of math-verify; imports it."""
    import logging

    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    logging.disable()
    plain = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
    )
    latex = [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=plain)]

    def read(text: str) -> list[Any]:
        parsed = parse(f"${text}$", latex, fallback_mode="no_fallback", parsing_timeout=None)
        return list(parsed)

    def check(asked: Question) -> bool:
        gold, answer = read(asked[0]), read(asked[1])
        ways = [(gold, answer), (answer, gold)] if asked[2] else [(gold, answer)]
        right = any(verify(one, two, timeout_seconds=None) for one, two in ways)
        return right and _agree(gold[0], answer[0])

    return check


def _agree(one: Any, two: Any) -> bool:
    """Whether two sympy values that math-verify calls equal are so at their own size, part by part.

    Parts of which there is nothing to evaluate are left to its word.
    """
    import sympy

    if isinstance(one, sympy.FiniteSet) and isinstance(two, sympy.FiniteSet):
        return all(any(_agree(left, right) for right in two.args) for left in one.args)
    if isinstance(one, sympy.MatrixBase) and isinstance(two, sympy.MatrixBase):
        return all(_agree(left, right) for left, right in zip(one.flat(), two.flat(), strict=True))
    lists = (sympy.Tuple, sympy.Interval)
    if isinstance(one, lists) and isinstance(two, lists):
        return all(_agree(left, right) for left, right in zip(one.args, two.args, strict=False))
    return not (isinstance(one, sympy.Expr) and isinstance(two, sympy.Expr)) or _close(one, two)


def _close(one: Any, two: Any) -> bool:
    import sympy

    letters = sorted(one.free_symbols | two.free_symbols, key=str)
    point = {letter: sympy.Rational(3 * at + 4, 2 * at + 5) for at, letter in enumerate(letters)}
    try:
        here, there = (sympy.N(side.subs(point).doit(), 30) for side in (one, two))
        inexact = one.has(sympy.Float) or two.has(sympy.Float)
        limit = SIX_DIGITS if inexact else TWELVE_DIGITS
        near = abs(here - there) <= limit * max(abs(here), abs(there))
        return bool(near) or sympy.simplify(one - two) == 0
    except Exception:
        # sympy raises all kinds of things on what strangers wrote (functions, infinities).
        return True


def _asked_boxes(found: list[str]) -> list[str]:
    return list(dict.fromkeys([*found[:1], *found[1 - MOST_BOXES :]]))


def _list_of(value: str) -> tuple[str, int]:
    """The brackets around a whole list (empty where there are none) and how many values it has.

    A plus-or-minus makes two values of one; brackets around a single value only group.
    """
    depth, commas, whole = 0, [0, 0], value[:1] in "([" or value.startswith(r"\{")
    for found in _BRACKET.finditer(value):
        sign = found.group()
        if sign in ("(", "[", "{", r"\{", r"\begin"):
            depth += 1
        elif sign in (")", "]", "}", r"\}", r"\end"):
            depth -= 1
            whole = whole and (depth > 0 or found.end() == len(value))
        elif depth <= 1:
            commas[depth > 0] += 1
    count = 1 + commas[whole] + value.count(r"\pm")
    start = 2 if value.startswith("\\") else 1
    return (value[:start] + value[-start:] if whole and count > 1 else ""), count


def _two_cases(value: str) -> bool:
    letters = set(re.sub(r"\\[A-Za-z]+", "", value))
    return any(letter.isupper() and letter.lower() in letters for letter in letters)


def _short(answer: str, gold: str, longest: int = 40) -> str:
    shown = (" ".join(text.split()) for text in (answer, gold))
    one, two = (text if len(text) <= longest else text[: longest - 1] + "…" for text in shown)
    return f"{one or 'an empty box'}, not {two}"
