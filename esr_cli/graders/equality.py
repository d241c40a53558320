r"""Compares two parsed answers; only pairs of expressions are left to algebra.

Collections are compared item by item: in order for tuples, intervals and matrices, in any order for
lists, sets and unions. Brackets of different kinds are different, with three exceptions: a bare
list may be a set, or a tuple, whose order then counts; a tuple may be a vector written as a matrix;
and a set or list of one value is that value.

Leaves that are equal in normal form are equal. Other leaves are compared by algebra (math-verify,
see `algebra`), which accepts some unequal answers. It is not asked, and the normal forms alone
decide, if

- both are numbers, or the units or names contradict each other (`5\text{ cm}`, `5\text{ m}`);
- a number has a base (`52_8`), or two numbers are adjacent (`3 4`, which it adds);
- there is a prime or an `\approx`, which it drops, or a letter as `R` and as `r`, which it merges,
  in one answer or between the two;
- one of the two is words, whose letters it multiplies (`east`, `seat`; `HTT`, `THT`);
- one has a colon, which it divides by (`10:05`), or is an equation of two numbers (`15 = 14`), of
  which it takes one side.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from esr_cli.graders import units
from esr_cli.graders.forms import INTERVALS, LIST, RATIO, SET, TUPLE, UNION, Collection, Form
from esr_cli.graders.normal import Answer, normal

CHOICES = tuple("ABCDEFGHIJ")
Algebra = Callable[[str, str], bool]

_MISREAD = re.compile(r"\d[\dA-F]*\)?_|\d \d|'|\\prime|\\approx")
_DECIMAL_POWER = re.compile(r"\^\{(-?\d{1,9}\.\d{1,9})\}")
_PRODUCT = re.compile(r"(?<=[\d)])(?=\()|(?<=\))(?=\d)")


def equal(gold: Form, answer: Form, algebra: Algebra) -> bool:
    """Returns whether the two are one answer; `algebra(gold, answer)` compares two LaTeX texts."""
    if isinstance(gold, Answer) and isinstance(answer, Answer):
        if gold.same(answer):
            return True
        texts = question(gold, answer)
        return texts is not None and algebra(*texts)
    if gold.name and answer.name and gold.name != answer.name:
        return False
    if isinstance(gold, Collection) and isinstance(answer, Collection):
        return _equal_collections(gold, answer, algebra)
    many, single = (gold, answer) if isinstance(gold, Collection) else (answer, gold)
    assert isinstance(many, Collection) and isinstance(single, Answer)
    if len(many.items) == 1 and many.kind in (LIST, SET, "1x1") and single.value != r"\emptyset":
        return equal(many.items[0], single, algebra)
    if many.kind == RATIO and many.text == single.plain:
        return True
    sets = many.kind in (UNION, SET, *INTERVALS) and not single.words
    return (sets or r"\begin" in single.plain) and algebra(_text(gold), _text(answer))


def _equal_collections(gold: Collection, answer: Collection, algebra: Algebra) -> bool:
    kinds = {gold.kind, answer.kind}
    if gold.names and set(gold.names) == set(answer.names) and kinds <= {LIST, TUPLE}:
        named = dict(zip(answer.names, answer.items, strict=True))
        return _same_in_order(gold.items, tuple(named[name] for name in gold.names), algebra)
    if kinds in ({LIST, SET}, {SET}, {LIST}, {UNION}):
        if len(gold.items) == len(answer.items) and _same_items(gold, answer, algebra):
            return True
    elif len(kinds) == 1 or kinds == {LIST, TUPLE} or _are_vector_and_tuple(gold, answer):
        return _same_in_order(gold.items, answer.items, algebra)
    # Unions of other parts can be the same set.
    return UNION in kinds and algebra(gold.text, answer.text)


def _are_vector_and_tuple(one: Collection, two: Collection) -> bool:
    return (one.vector and two.kind == TUPLE) or (two.vector and one.kind == TUPLE)


def _same_items(gold: Collection, answer: Collection, algebra: Algebra) -> bool:
    # `x=3, y=4` has an order for someone who writes `3, 4`.
    if bool(gold.names) != bool(answer.names) and len(gold.items) > 1:
        return _same_in_order(gold.items, answer.items, algebra)
    left = list(answer.items)
    for item in gold.items:
        found = next((other for other in left if equal(item, other, algebra)), None)
        if found is None:
            return False
        left.remove(found)
    return True


def _same_in_order(gold: tuple[Form, ...], answer: tuple[Form, ...], algebra: Algebra) -> bool:
    return len(gold) == len(answer) and all(
        equal(one, two, algebra) for one, two in zip(gold, answer, strict=True)
    )


def question(gold: Answer, answer: Answer) -> tuple[str, str] | None:
    """Returns the two texts for algebra, or None if it must not be asked."""
    one, two = gold.plain, answer.plain
    numbers = gold.number is not None and answer.number is not None
    if not one or not two or numbers or not units.agree(gold.unit, answer.unit):
        return None
    if any(_MISREAD.search(value) or _contradicts_itself(value) for value in (one, two)):
        return None
    if gold.words or answer.words or ":" in one + two:
        return None
    # The letter of a choice may be written in either case.
    choice = one.upper() == two.upper() and one.upper() in CHOICES
    if not choice and _has_letter_in_both_cases(f"{one} {two}"):
        return None
    if (gold.name and answer.name and gold.name != answer.name) or "=" in one + two:
        if "(" in (gold.name[:1], answer.name[:1]):
            return None
        # Answers with different names can be the same equation: y=2x, x=y/2 and 2x-y=0.
        named = ((gold.name, one), (answer.name, two))
        one, two = (f"{name}={value}" if name else value for name, value in named)
    return _rewritten(one), _rewritten(two)


def _rewritten(value: str) -> str:
    r"""The value as math-verify reads it: `2i` for `2\cdot i`, a product for `)(`."""
    value = re.sub(r"\\cdot ?i(?![A-Za-z])", "i", value)
    value = _DECIMAL_POWER.sub(_power, value)
    value = re.sub(r"\+ ?\(-(\d{1,60})\)", r"-\1", value)
    return _PRODUCT.sub(r"\\cdot ", value)


def _power(found: re.Match[str]) -> str:
    power = Fraction(found[1])
    return rf"^{{\frac{{{power.numerator}}}{{{power.denominator}}}}}"


def _text(form: Form) -> str:
    return form.text if isinstance(form, Collection) else _rewritten(form.plain)


def _has_letter_in_both_cases(value: str) -> bool:
    letters = set(re.findall(r"\\[A-Za-z]+|[A-Za-z]", value))
    return any(letter != letter.lower() and letter.lower() in letters for letter in letters)


def _contradicts_itself(value: str) -> bool:
    """Whether the value is an equation of different numbers, of which one side would count."""
    numbers = {normal(side).number for side in value.split("=")} if "=" in value else set()
    return len(numbers - {None}) > 1
