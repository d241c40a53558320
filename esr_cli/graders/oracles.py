"""Whether a call's result is right, by evalplus's rules (0.3.1), outside the candidate's process.

A result is right when it equals the expected one (`==`: True is 1, 1 is 1.0, a list is no tuple).
Where the task has a tolerance, or the expected result is a float or a list or tuple of floats
(then 1e-6), it is also right when it has the same type and length, and numpy's allclose accepts it
with a relative tolerance of 1e-7. A few tasks have a rule of their own, below.

Departures from evalplus: there a tolerance that one float gave stays for the later inputs of the
task, here it holds for that input alone; and a candidate's own `__eq__` is never asked, so that
only plain values can be right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from esr_cli.graders.wire import Result
from esr_cli.types import CodeReference

FLOAT_TOLERANCE = 1e-6
RELATIVE_TOLERANCE = 1e-7

# MBPP tasks whose result matters as a set: Mbpp/2, 7, 111, 140, 232, 249, 579, 769.
SETS = frozenset(
    {"similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly"}
    | {"larg_nnum", "intersection_array", "find_dissimilar", "Diff"}
)
# MBPP tasks that ask for a match: its being there is all that counts.
NOT_NONE = frozenset({"check_str", "text_match_three", "text_starta_endb"})


def is_set_task(reference: CodeReference) -> bool:
    """Whether the result counts as the set of its elements, whatever the iterable."""
    return reference.family == "mbpp" and reference.entry_point in SETS


def is_exact(reference: CodeReference) -> bool:
    """Whether `==` alone decides, unless the expected result is a float or floats."""
    special = {*SETS, *NOT_NONE, *OWN_RULES, "find_zero"}
    return not reference.atol and reference.entry_point not in special


def expected_of(reference: CodeReference, result: Result) -> Result:
    """What the canonical result stands for: itself, or for a match whether there is one."""
    if reference.family == "mbpp" and reference.entry_point in NOT_NONE:
        return Result(result.value is not None, "builtins.bool", result.elapsed_s)
    return result


def is_right(
    reference: CodeReference, given: Sequence[Any], expected: Result, result: Result
) -> bool:
    """Whether the result of the call on `given` is right; a comparison that raises says no."""
    try:
        if reference.family == "humaneval" and reference.entry_point == "find_zero":
            return abs(_polynomial(given[0], result.value)) <= reference.atol
        if _by_own_rule(reference, given, expected.value, result.value):
            return True
        atol = reference.atol or (FLOAT_TOLERANCE if _all_floats(expected.value) else 0.0)
        return atol != 0 and _close(expected, result, atol)
    except Exception:  # values of any types meet operators and numpy here
        return False


def _by_own_rule(reference: CodeReference, given: Sequence[Any], expected: Any, value: Any) -> bool:
    if reference.family == "mbpp":
        if is_set_task(reference):
            return set(value) == set(expected)
        if reference.entry_point in NOT_NONE:
            there = value if isinstance(value, bool) else value is not None
            return there == expected
        rule = OWN_RULES.get(reference.entry_point)
        if rule and value != expected:
            return rule(value, given, reference.atol)
    return bool(value == expected)


def _all_floats(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, float) for item in value)
    return isinstance(value, float)


def _close(expected: Result, result: Result, atol: float) -> bool:
    """The name of the type tells numpy's float from Python's, as evalplus does."""
    value, wanted = result.value, expected.value
    if result.kind != expected.kind or type(value) is not type(wanted):
        return False
    if isinstance(wanted, list | tuple) and len(value) != len(wanted):
        return False
    with np.errstate(all="ignore"):
        return bool(np.allclose(value, wanted, rtol=RELATIVE_TOLERANCE, atol=atol))


def _polynomial(coefficients: Sequence[float], x: float) -> float:
    return sum(factor * math.pow(x, power) for power, factor in enumerate(coefficients))


def _pyramid(value: Any, given: Sequence[Any], atol: float) -> bool:
    """Mbpp/581: the height may also be the one from the base to the apex."""
    base, height = given
    slant = math.sqrt((base / 2) ** 2 + height**2)
    return abs(value - round(base**2 + 4 * (base * slant) / 2)) <= atol


def _digit_distance(value: Any, given: Sequence[Any], atol: float) -> bool:
    """Mbpp/558: the shorter number may also be filled up with zeros on the left."""
    one, other = map(str, given)
    width = max(len(one), len(other))
    digits = zip(one.zfill(width), other.zfill(width), strict=True)
    return value == sum(abs(int(a) - int(b)) for a, b in digits)


OWN_RULES: dict[str, Callable[[Any, Sequence[Any], float], bool]] = {
    # Mbpp/164: the published question is ambiguous; evalplus lets pass whatever does not raise.
    "are_equivalent": lambda value, given, atol: True,
    # Mbpp/295: whether a number divides itself is left open, 0 is right for all.
    "sum_div": lambda value, given, atol: value == 0,
    "surface_Area": _pyramid,
    "digit_distance_nums": _digit_distance,
}
