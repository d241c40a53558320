"""Checks a call's result by evalplus's rules (0.3.1), outside the candidate's process.

A result is correct if it equals the expected one (`==`: True is 1, 1 is 1.0, a list is not a
tuple). If the task has a tolerance, or the expected result is a float or a list or tuple of floats
(then 1e-6), a result is also correct if it has the same type and length and numpy's allclose
accepts it with a relative tolerance of 1e-7. A few tasks have special rules, below.

Departures from evalplus: a fraction or a decimal may be within the tolerance of a float; in
evalplus it must be equal. In evalplus, a tolerance set by one float result also applies to the
later inputs of the task; here it applies to that input alone. A candidate's `__eq__` is never
called, so only plain values, and those of a few standard classes, can be correct.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from esr_cli.graders.wire import Result, need_spread
from esr_cli.types import CodeReference

FLOAT_TOLERANCE = 1e-6
RELATIVE_TOLERANCE = 1e-7

# MBPP tasks whose results are compared as sets: Mbpp/2, 7, 111, 140, 232, 249, 579, 769.
SETS = frozenset(
    {"similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly"}
    | {"larg_nnum", "intersection_array", "find_dissimilar", "Diff"}
)
# MBPP tasks that return a match: only its presence is compared.
NOT_NONE = frozenset({"check_str", "text_match_three", "text_starta_endb"})


def is_set_task(reference: CodeReference) -> bool:
    """Returns whether results are compared as sets of their elements, for any iterable."""
    return reference.family == "mbpp" and reference.entry_point in SETS


def is_exact(reference: CodeReference) -> bool:
    """Returns whether `==` alone decides, unless the expected result is a float or floats."""
    special = {*SETS, *NOT_NONE, *TASK_RULES, "find_zero"}
    return not reference.atol and reference.entry_point not in special


def expected_of(reference: CodeReference, result: Result) -> Result:
    """Returns the value to compare with: the canonical result, or whether has_match is a match."""
    if reference.family == "mbpp" and reference.entry_point in NOT_NONE:
        return Result(result.value is not None, "builtins.bool", result.cpu_s)
    return result


def is_right(
    reference: CodeReference, given: Sequence[Any], expected: Result, result: Result
) -> bool:
    """Returns whether the call on `given` is correct; False if the comparison raises."""
    try:
        if reference.family == "humaneval" and reference.entry_point == "find_zero":
            return abs(_polynomial(given[0], result.value)) <= reference.atol
        if _passes_task_rule(reference, given, expected.value, result.value):
            return True
        atol = reference.atol or (FLOAT_TOLERANCE if _all_floats(expected.value) else 0.0)
        return atol != 0 and _close(expected, result, atol)
    except Exception:  # operators and numpy raise many errors on values of arbitrary types
        return False


def _passes_task_rule(
    reference: CodeReference, given: Sequence[Any], expected: Any, value: Any
) -> bool:
    if reference.family == "mbpp":
        if is_set_task(reference):
            need_spread(value)
            return set(value) == set(expected)
        if reference.entry_point in NOT_NONE:
            has_match = value if isinstance(value, bool) else value is not None
            return has_match == expected
        rule = TASK_RULES.get(reference.entry_point)
        if rule and value != expected:
            return rule(value, given, reference.atol)
    return bool(value == expected)


def _all_floats(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, float) for item in value)
    return isinstance(value, float)


def _close(expected: Result, result: Result, atol: float) -> bool:
    """Compares within tolerance; like evalplus, distinguishes numpy's float from Python's."""
    value, wanted = _with_floats(result.value), expected.value
    exact = isinstance(result.value, Fraction | Decimal)
    if (result.kind != expected.kind and not exact) or type(value) is not type(wanted):
        return False
    if isinstance(wanted, list | tuple) and len(value) != len(wanted):
        return False
    with np.errstate(all="ignore"):
        return bool(np.allclose(value, wanted, rtol=RELATIVE_TOLERANCE, atol=atol))


def _with_floats(value: Any) -> Any:
    """The value with fractions and decimals as floats, also in a list or tuple."""
    if isinstance(value, list | tuple):
        return type(value)(map(_with_floats, value))
    return float(value) if isinstance(value, Fraction | Decimal) else value


def _polynomial(coefficients: Sequence[float], x: float) -> float:
    return sum(factor * math.pow(x, power) for power, factor in enumerate(coefficients))


def _pyramid(value: Any, given: Sequence[Any], atol: float) -> bool:
    """Mbpp/581: the height may also be measured from the base to the apex."""
    base, height = given
    slant = math.sqrt((base / 2) ** 2 + height**2)
    return abs(value - round(base**2 + 4 * (base * slant) / 2)) <= atol


def _digit_distance(value: Any, given: Sequence[Any], atol: float) -> bool:
    """Mbpp/558: the shorter number may also be padded with zeros on the left."""
    one, other = map(str, given)
    width = max(len(one), len(other))
    digits = zip(one.zfill(width), other.zfill(width), strict=True)
    return value == sum(abs(int(a) - int(b)) for a, b in digits)


TASK_RULES: dict[str, Callable[[Any, Sequence[Any], float], bool]] = {
    # Mbpp/164: the published question is ambiguous; evalplus accepts any result.
    "are_equivalent": lambda value, given, atol: True,
    # Mbpp/295: the task is unclear about whether a number divides itself; 0 is always accepted.
    "sum_div": lambda value, given, atol: value == 0,
    "surface_Area": _pyramid,
    "digit_distance_nums": _digit_distance,
}
