"""The lenient verdict on function calls: where it agrees with BFCL's, and where it does not."""

from __future__ import annotations

from typing import Any

import pytest
from test_tools_grader import (
    AREA,
    BOOLEAN,
    DICT,
    DICTS,
    FLOAT,
    INTEGER,
    RIGHT,
    STRING,
    STRINGS,
    TUPLE,
    json_call,
    one,
)

from esr_cli.graders.tools import grade

# (allowed values, value, BFCL's verdict, the lenient one).
VALUES: list[tuple[dict[str, Any], list[tuple[list[Any], Any, bool, bool]]]] = [
    (INTEGER, [
        ([5], 5, True, True), ([5], 6, False, False), ([5], 5.0, False, True),
        ([5], "5", False, True), ([5], " 5.0 ", False, True), ([5], "five", False, False),
        ([1], True, False, False), ([5], None, False, False), ([5], [5], False, False),
        ([0], "", False, False), (["", 5], "", False, True),
    ]),
    (FLOAT, [([0.5], "0.50", False, True), ([2.0], 2, True, True)]),
    (BOOLEAN, [([True], "true", False, True), ([True], 1, False, False),
               ([True], "yes", False, False), ([False], "", False, False)]),
    (STRING, [
        (["Paris"], "paris", True, True), (["Paris"], "PARIS ", True, True),
        # BFCL ignores blanks and punctuation within a text.
        (["New York"], "newyork", True, False), (["April 1, 2024"], "April 1 2024", True, False),
        (["Straße"], "STRASSE", False, True), (["7"], 7, False, True), (["7"], "7.0", False, True),
        (["nan"], "NaN", True, True), (["1"], "l", False, False),
    ]),
    (STRINGS, [
        ([["a", "B"]], ["A", "b"], True, True), ([["a", "b"]], ["b", "a"], False, False),
        ([["a", "b"]], ["a"], False, False), ([["a"]], "a", False, False),
        ([["a"], ""], [], True, False),
    ]),
    (TUPLE, [([[1.5, 2]], [1.5, "2"], False, True)]),
    (DICT, [
        ([{"low": [3], "high": [4, ""]}], {"low": "3"}, False, True),
        ([{"low": [3], "high": [4, ""]}], {"high": 4}, False, False),
        ([{"low": [3]}], {"low": 3, "top": 4}, False, False), ([{"low": [3]}], 3, False, False),
        ([{"in": [{"x": [1]}]}], {"in": {"x": 1}}, False, True),
        ([{"in": [{"x": 1}]}], {"in": {"x": 1.0}}, True, True),
    ]),
    (DICTS, [([[{"op": [">"]}, {"op": ["A b"]}]], [{"op": ">"}, {"op": "a B"}], True, True),
             ([[{"op": [">"]}]], [{"op": ">"}, {"op": ">"}], False, False)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("description", "options", "value", "strict", "lenient"),
    [(description, *case) for description, cases in VALUES for case in cases],
)
def test_a_value(
    description: Any, options: list[Any], value: Any, strict: bool, lenient: bool
) -> None:
    verdict = grade(json_call("f", {"x": value}), one(description, options))
    assert (verdict.correct, verdict.also["lenient"]) == (strict, lenient)


@pytest.mark.parametrize(
    ("response", "lenient"),
    [
        (json_call("math.area", RIGHT | {"base": "10", "height": "5"}), True),
        (f"[{json_call('math.area', RIGHT)[12:-13]}]", True),
        # Only values are compared leniently.
        (json_call("Math.area", RIGHT), False),
        (json_call("math.area", RIGHT | {"color": 1}), False),
        (json_call("math.area", {"height": 5}), False),
        (json_call("math.area", {"base": 10}), False),
        (json_call("math.area", RIGHT) * 2, False),
        ("The area is 50.", False),
    ],
)
def test_a_call(response: str, lenient: bool) -> None:
    assert grade(response, AREA).also["lenient"] is lenient
