r"""Compares two LaTeX expressions by math-verify, in a worker process.

math-verify is configured to read LaTeX only, not to search for a bare number in unparsable text
(`3\uparrow5`), and not to drop units (`5t`). Two values that it accepts must also agree to twelve
significant digits (six if one is a decimal), or their difference must simplify to zero: it rounds
`\frac1{2004!}` and `\frac1{2006!}` to 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from esr_cli.graders.equality import equal
from esr_cli.graders.forms import Form

SIX_DIGITS, TWELVE_DIGITS = 5e-6, 1e-12
# The gold answer, the answer, and whether either may be the gold.
Question = tuple[Form, Form, bool]


def make_check() -> Callable[[Question], bool]:
    """Returns the comparison that a worker runs; imports math-verify."""
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
        """Whether the two forms are equal."""

        def algebra(one: str, two: str) -> bool:
            """Whether two LaTeX texts are equal."""
            gold, answer = read(one), read(two)
            if not gold or not answer:
                return False
            ways = [(gold, answer), (answer, gold)] if asked[2] else [(gold, answer)]
            if any(verify(*way, timeout_seconds=None) for way in ways):
                return _agree(gold[0], answer[0])
            return _are_proportional(gold[0], answer[0]) or _are_complex(gold[0], answer[0])

        return equal(asked[0], asked[1], algebra)

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


def _are_proportional(one: Any, two: Any) -> bool:
    """Returns whether two equations are the same but for a constant factor: `x=5`, `2x=10`."""
    import sympy

    if not (isinstance(one, sympy.Eq) and isinstance(two, sympy.Eq)):
        return False
    try:
        ratio = sympy.simplify((one.lhs - one.rhs) / (two.lhs - two.rhs))
    except Exception:
        # sympy raises many kinds of errors on untrusted input.
        return False
    return bool(ratio.is_number and ratio.is_finite and ratio.is_nonzero)


def _are_complex(one: Any, two: Any) -> bool:
    """Returns whether two complex numbers are equal; math-verify reads `i` as a variable."""
    import sympy

    if not (isinstance(one, sympy.Expr) and isinstance(two, sympy.Expr)):
        return False
    letters = one.free_symbols | two.free_symbols
    if {str(letter) for letter in letters} != {"i"}:
        return False
    one, two = (side.subs(dict.fromkeys(letters, sympy.I)) for side in (one, two))
    return _close(one, two, unknown=False)


def _close(one: Any, two: Any, unknown: bool = True) -> bool:
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
        return unknown
