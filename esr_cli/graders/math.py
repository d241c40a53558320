r"""The grader of math answers: compares the last box with the gold answer.

Answers that are equal in normal form (see `normal`) are correct. Other pairs go to math-verify,
`verify(gold, answer)` with the gold first, in processes that can be killed; an inequality becomes
an interval if the other answer is one (see `notation`), so that the order does not matter.
math-verify accepts some unequal answers, so it is not called, and the normal forms alone decide, if

- both are numbers, or the units or names contradict each other (`5\text{ cm}`, `5\text{ m}`);
- a number has a base (`52_8`), or two numbers are adjacent (`3 4`, which it adds);
- there is a prime or an `\approx`, which it drops, or a letter as `R` and as `r`, which it merges,
  in one answer or between the two;
- one of the two is words, whose letters it multiplies (`east`, `seat`; `HTT`, `THT`);
- one has a colon, which it divides by (`10:05`), or is an equation of two numbers (`15 = 14`), of
  which it takes one side;
- they list a different number of values (`3, 4, and 5` against `5`, `5, 5` against `5`);
- both have brackets of different kinds: `(1,2)`, `[1,2]`, `\{1,2\}`. A bare list may be a set. A
  bare list compared with round brackets gets round brackets too, so its order counts.

math-verify is configured to read LaTeX only, not to search for a bare number in unparsable text
(`3\uparrow5`), and not to drop units (`5t`). A `)(` is rewritten as a product, which it would read
as a sum. Two values that it accepts must also agree to twelve significant digits (six if one is a
decimal), or their difference must simplify to zero: it rounds `\frac1{2004!}` and `\frac1{2006!}`
to 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from esr_cli.graders.boxed import boxes
from esr_cli.graders.normal import Answer, normal, spell
from esr_cli.graders.notation import aligned
from esr_cli.graders.pool import Outcome, Pool
from esr_cli.types import Grade

MOST_BOXES = 4
CHOICES = tuple("ABCDEFGHIJ")
SIX_DIGITS, TWELVE_DIGITS = 5e-6, 1e-12
Question = tuple[str, str, bool]

_MISREAD = re.compile(r"\d[\dA-F]*\)?_|\d \d|'|\\prime|\\approx")
_BRACKET = re.compile(r"\\[{}]|[()[\]{}]|[,;]| ?\b(?:and|or)\b ?|\\begin|\\end")
_ORDER = re.compile(r"[<>]|\\(?:leq|geq|neq|cup|cap)(?![A-Za-z])")
_PRODUCT = re.compile(r"(?<=[\d)])(?=\()|(?<=\))(?=\d)")


class MathGrader:
    """Grades boxed answers against gold answers; the module docstring defines equality.

    `workers` processes (default: one per core) compare pairs, each for at most `seconds` of wall
    clock. The reference is the gold answer as text. Verdicts are cached for the grader's lifetime.
    """

    def __init__(self, workers: int | None = None, seconds: float = 10) -> None:
        self._pool = Pool(make_check, workers, seconds)
        self._known: dict[Question, Outcome] = {}
        self.asked = 0

    def grade(self, pairs: Sequence[tuple[str, Any]]) -> list[Grade]:
        """Grades each (response, gold answer); a hostile response affects only its own verdict.

        `answer` is the last box in normal form. `also` holds three verdicts. `boxed`: there is a
        box. `first_boxed`: the first box is correct. `anywhere`: the first box or one of the last
        three is correct, any box equals the gold in normal form, or the response contains the
        gold's value in the same spelling without an adjacent letter, digit, decimal point or minus.
        """
        held = [boxes(response) for response, _ in pairs]
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

    def _compare(self, keys: Iterable[Question]) -> None:
        """Fills `_known` for the keys (gold, answer, whether either may be the gold)."""
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

    def _grade(self, response: str, gold: str, found: list[str], joins: list[str]) -> Grade:
        verdicts = [self._known[gold, box, False] for box in _compared_boxes(found)]
        wanted = normal(gold)
        answer = found[-1] if found else ""
        right = bool(found) and bool(self._known[gold, answer, False].value)
        for joined in joins:
            if not right and self._known[gold, joined, False].value:
                right, answer = True, joined
        anywhere = (
            any(verdict.value for verdict in verdicts)
            or any(wanted.same(normal(box)) for box in dict.fromkeys(found))
            or bool(wanted.plain and value_pattern(wanted).search(spell(response)))
        )
        also = {
            "first_boxed": bool(found) and bool(self._known[gold, found[0], False].value),
            "anywhere": anywhere,
            "boxed": bool(found),
        }
        if not found:
            return Grade(False, "no box", None, also)
        failure = self._known[gold, answer, False].failure
        reason = "right" if right else failure or _short(answer, gold)
        return Grade(right, reason, normal(answer).text, also)


def question(gold: Answer, answer: Answer) -> tuple[str, str] | None:
    """Returns the two texts for math-verify, or None if it must not be called."""
    one, two = gold.plain, answer.plain
    numbers = gold.number is not None and answer.number is not None
    if not one or not two or numbers or (gold.unit and answer.unit and gold.unit != answer.unit):
        return None
    if any(_MISREAD.search(value) or _contradicts_itself(value) for value in (one, two)):
        return None
    if gold.words or answer.words or (":" in one) != (":" in two):
        return None
    # The letter of a choice may be written in either case.
    choice = one.upper() == two.upper() and one.upper() in CHOICES
    if not choice and _has_letter_in_both_cases(f"{one} {two}"):
        return None
    if (gold.name and answer.name and gold.name != answer.name) or "=" in one + two:
        # Answers with different names can be the same equation: y=2x, x=y/2 and 2x-y=0.
        named = ((gold.name, one), (answer.name, two))
        one, two = (f"{name}={value}" if name else value for name, value in named)
    one, two = aligned(one, two)
    if not any(_ORDER.search(value) for value in (one, two)):
        (kind, count), (other_kind, other_count) = _list_of(one), _list_of(two)
        if count != other_count:
            return None
        if {kind, other_kind} == {"", "()"}:
            one, two = (
                text if brackets else f"({text})"
                for text, brackets in ((one, kind), (two, other_kind))
            )
        elif kind != other_kind and {kind, other_kind} != {"", r"\{\}"}:
            return None
    return _PRODUCT.sub(r"\\cdot ", one), _PRODUCT.sub(r"\\cdot ", two)


def value_pattern(answer: Answer) -> re.Pattern[str]:
    """Returns a pattern that finds the value in spelled text with nothing attached to it."""
    pieces = re.findall(r"\\[A-Za-z]+|\d+|\S", answer.plain)
    body = r" ?".join(map(re.escape, pieces))
    return re.compile(rf"(?<![A-Za-z\d\\-])(?<!\d[.,]){body}(?![A-Za-z\d])(?![.,]\d)")


def make_check() -> Callable[[Question], bool]:
    """Returns the comparison by math-verify that a worker runs; imports math-verify."""
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
    """Returns whether two sympy values that math-verify accepts agree numerically, part by part.

    Parts that cannot be evaluated count as equal.
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
        # sympy raises many kinds of errors on untrusted input (functions, infinities).
        return True


def _compared_boxes(found: list[str]) -> list[str]:
    return list(dict.fromkeys([*found[:1], *found[1 - MOST_BOXES :]]))


def _joined(gold: str, found: list[str]) -> list[str]:
    """The boxes as one list, if the gold answer is a list of as many values: one box a value."""
    if len(found) < 2 or not all(box and "," not in box for box in found):
        return []
    return [", ".join(found)] if _list_of(normal(gold).plain) == ("", len(found)) else []


def _list_of(value: str) -> tuple[str, int]:
    """Returns the brackets around the entire list (empty if none) and its number of values.

    A plus-or-minus counts as two values. Brackets around a single value only group.
    """
    depth, commas, enclosed = 0, [0, 0], value[:1] in "([" or value.startswith(r"\{")
    for found in _BRACKET.finditer(value):
        sign = found.group()
        if sign in ("(", "[", "{", r"\{", r"\begin"):
            depth += 1
        elif sign in (")", "]", "}", r"\}", r"\end"):
            depth -= 1
            enclosed = enclosed and (depth > 0 or found.end() == len(value))
        elif depth <= 1:
            commas[depth > 0] += 1
    count = 1 + commas[enclosed] + value.count(r"\pm")
    start = 2 if value.startswith("\\") else 1
    return (value[:start] + value[-start:] if enclosed and count > 1 else ""), count


def _has_letter_in_both_cases(value: str) -> bool:
    letters = set(re.sub(r"\\[A-Za-z]+", "", value))
    return any(letter.isupper() and letter.lower() in letters for letter in letters)


def _contradicts_itself(value: str) -> bool:
    """Whether the value is an equation of different numbers, of which one side would count."""
    numbers = {normal(side).number for side in value.split("=")} if "=" in value else set()
    return len(numbers - {None}) > 1


def _short(answer: str, gold: str, longest: int = 40) -> str:
    shown = (" ".join(text.split()) for text in (answer, gold))
    one, two = (text if len(text) <= longest else text[: longest - 1] + "…" for text in shown)
    return f"{one or 'an empty box'}, not {two}"
