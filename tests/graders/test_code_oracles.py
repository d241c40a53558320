"""The oracles of the code grader: equality, tolerance, and tasks with special rules."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from esr_cli.graders import oracles, wire
from esr_cli.types import CodeReference


def is_right(name, expected, value, given=(), family="mbpp", atol=0.0, kinds=None):
    published = CodeReference(family, "", name, "", (given,), 1, atol)
    kind, other = kinds or (type(expected).__name__, type(value).__name__)
    return oracles.is_right(
        published, given, wire.Result(expected, kind, 0.0), wire.Result(value, other, 0.0)
    )


NAN = float("nan")


@pytest.mark.parametrize(
    ("expected", "value", "atol", "right"),
    [
        (1, True, 0, True),
        (1, 1.0, 0, True),
        ([1, 2], (1, 2), 0, False),
        ({1, 2}, frozenset({2, 1}), 0, True),
        (None, 0, 0, False),
        ("a", wire.Opaque("a"), 0, False),
        # The default tolerance of floats: 1e-6, and 1e-7 of the expected one.
        (0.5, 0.5 + 9e-7, 0, True),
        (0.5, 0.5 + 2e-6, 0, False),
        (1e9, 1e9 + 90, 0, True),
        (1e9, 1e9 + 110, 0, False),
        ([0.5, 1.0], [0.5 + 9e-7, 1.0], 0, True),
        ((0.5, 1.0), (0.5 + 9e-7, 1.0), 0, True),
        ([0.5, 1], [0.5 + 9e-7, 1], 0, False),
        ([0.5], (0.5 + 9e-7,), 0, False),
        ([0.5], [0.5 + 9e-7, 0.5], 0, False),
        ({0.5: 1}, {0.5 + 9e-7: 1}, 0, False),
        (1.0, 1 + 0, 0, True),
        (10**9, 10**9 + 1, 0, False),
        (NAN, NAN + 0, 0, False),
        (float("inf"), float("inf"), 0, True),
        # Fractions and decimals are numbers.
        (7.5, Fraction(15, 2), 0, True),
        (0.1, Fraction(1, 10), 0, True),
        (0.1, Decimal("0.1"), 0, True),
        (0.1, Decimal("0.11"), 0, False),
        ([0.1, 0.5], [Fraction(1, 10), Decimal("0.5")], 0, True),
        (2, Fraction(2), 0, True),
        (2, Fraction(21, 10), 0, False),
        (2, Decimal("NaN"), 0, False),
        # The task's tolerance applies to any type if both types are the same.
        (0.5, 0.5 + 9e-5, 1e-4, True),
        (0.5, 0.5 + 2e-4, 1e-4, False),
        (5000, 5000.0001, 1e-3, False),
        (5000, 5001, 2.0, True),
        ([5000], [5001], 2.0, True),
        (1j, 1j + 9e-5, 1e-4, True),
        ("a", "b", 1e-4, False),
        ([[1], [1, 2]], [[1], [1, 3]], 1e-4, False),
    ],
)
def test_equality_and_tolerance(expected, value, atol, right):
    for family in ("humaneval", "mbpp"):
        assert is_right("any", expected, value, family=family, atol=atol) is right


def test_numpy_float_is_another_type_as_in_evalplus():
    assert is_right("any", 0.5, 0.5, kinds=("builtins.float", "numpy.float64"))
    assert not is_right("any", 0.5, 0.5 + 1e-9, kinds=("builtins.float", "numpy.float64"))
    # The candidate controls the type name, so the value's type is compared too.
    assert not is_right("any", [0.5], (0.5 + 1e-9,), kinds=("builtins.list", "builtins.list"))


def test_a_hash_replaces_a_result_only_if_equality_decides():
    asked = [("f", 0.0), ("f", 1e-4), ("Diff", 0.0), ("check_str", 0.0), ("sum_div", 0.0)]
    exact = [
        oracles.is_exact(CodeReference("mbpp", "", name, "", (), 0, atol)) for name, atol in asked
    ]
    assert exact == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("name", "expected", "value", "given", "right"),
    [
        ("are_equivalent", True, "anything", (1, 2), True),
        ("sum_div", 7, 0, (7,), True),
        ("sum_div", 7, 6, (7,), False),
        ("surface_Area", 33, 35, (3, 4), True),
        ("surface_Area", 33, 34, (3, 4), False),
        ("surface_Area", 33, None, (3, 4), False),
        ("digit_distance_nums", 4, 4, (-12, 345), True),
        ("digit_distance_nums", 4, 9, (-12, 345), False),
        ("digit_distance_nums", 4, 9, (12, 345), True),
        ("digit_distance_nums", 4, 8, (12, 345), False),
        ("Diff", [1, 2], (2, 1, 1), (), True),
        ("Diff", [1, 2], [1], (), False),
        ("Diff", [1, 2], 5, (), False),
        ("Diff", [0.5, 0.25], [0.5 + 1e-9, 0.25], (), True),
        ("check_str", True, wire.Opaque("Match"), (), True),
        ("check_str", True, False, (), False),
        ("check_str", False, None, (), True),
        ("check_str", False, 0, (), False),
        ("check_str", False, False, (), True),
    ],
)
def test_special_tasks_of_mbpp(name, expected, value, given, right):
    assert is_right(name, expected, value, given) is right
    # The other family has no special rules for these names.
    plain = is_right("any", expected, value, given, family="humaneval")
    assert is_right(name, expected, value, given, family="humaneval") is plain


def test_every_set_task_compares_sets():
    for name in oracles.SETS:
        assert is_right(name, [1, 2], (2, 1)), name
    assert len(oracles.SETS) == 8 and len(oracles.NOT_NONE) == 3


def test_find_zero_is_checked_by_its_polynomial():
    right = {"given": ([-6, 11, -6, 1],), "family": "humaneval", "atol": 1e-4}
    assert all(is_right("find_zero", 1.0, root, **right) for root in (1, 2.0, 3.00001))
    assert not any(is_right("find_zero", 1.0, root, **right) for root in (1.01, None, NAN, 1j, "1"))
