"""The grader of function calls: each rule of BFCL, and the published answer keys."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esr_cli.graders.tools import grade
from esr_cli.types import ToolReference

# A published key that contradicts its function description: the type is string but the allowed
# value is true, so BFCL accepts true (as a "variable") and refuses every string.
WRONG_KEYS = {"simple_python_307": "venue is described as a string, the key allows only true"}
INTEGER, FLOAT, STRING = {"type": "integer"}, {"type": "float"}, {"type": "string"}
BOOLEAN, ANY, TUPLE = {"type": "boolean"}, {"type": "any"}, {"type": "tuple", "items": FLOAT}
DICT, MIXED = {"type": "dict"}, {"type": "array"}
INTEGERS, FLOATS, STRINGS, NESTED, DICTS = (
    {"type": "array", "items": items} for items in (INTEGER, FLOAT, STRING, MIXED, DICT)
)


def function(name: str, properties: dict[str, Any], required: tuple[str, ...] = ()) -> Any:
    parameters = {"type": "dict", "properties": properties, "required": list(required)}
    return {"name": name, "description": "", "parameters": parameters}


def one(description: dict[str, Any], options: list[Any]) -> ToolReference:
    """A reference for `f` with the single parameter `x`."""
    return ToolReference((function("f", {"x": description}),), {"f": {"x": options}})


def json_call(name: str, arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def python_call(name: str, arguments: dict[str, Any]) -> str:
    return f"[{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})]"


AREA = ToolReference(
    (
        function("math.area", {"base": INTEGER, "height": FLOAT, "unit": STRING}, ("base",)),
        function("volume", {"base": INTEGER}, ("base",)),
    ),
    {"math.area": {"base": [10], "height": [5], "unit": ["units", ""]}},
)
RIGHT = {"base": 10, "height": 5.0, "unit": "units"}


# BFCL's verdict on a value `x`: (allowed values, value, expected error).
VALUES: list[tuple[dict[str, Any], list[tuple[list[Any], Any, str]]]] = [
    (INTEGER, [
        ([4], 4, ""), ([4], 5, "value"), ([4, 5], 5, ""), (["", 4], 4, ""), ([-4], -4, ""),
        ([4], 4.0, "type"), ([1], True, "type"), ([4], "4", "type"), ([4], None, "type"),
        ([4, ""], "", "type"),  # "" allows omitting it, not passing ""
        # A variable, named as a string in the key, is compared exactly.
        (["max_n"], "max_n", ""), (["max_n"], "MAX_N", "value"), (["max_n"], 7, "value"),
    ]),
    (FLOAT, [([5.0], 5, ""), ([5], 5.0, ""), ([5.5], 5, "value"), ([1.0], True, "type")]),
    (BOOLEAN, [([True], True, ""), ([True], 1, "type"), ([True], False, "value")]),
    (STRING, [
        (["New York, NY"], "new york ny", ""), (["a,b./-_*^c'"], 'ABC"', ""),
        (["a b"], "a;b", "value"), (["a b"], "a\tb", "value"), (["5"], 5, "type"),
        # An empty value counts as omitted.
        (["", "a"], "", ""), ([""], "a", "value"), ([""], "-", ""),
        # The key's type is accepted, and then compared exactly.
        ([True], True, ""), ([True], "True", "value"), ([1], 1, ""),
    ]),
    (ANY, [(["Red 1"], "red1", ""), ([7], 7, ""), ([7], "7", "value"), (["7"], 7, "type"),
           ([7, "Red"], "red", "value")]),
    (STRINGS, [
        ([["New York", "b"]], ["new_york", "B"], ""), ([["a", "b"]], ["b", "a"], "value"),
        ([["a", "b"], ["b", "a"]], ["b", "a"], ""), ([["a", "b"]], ["a"], "value"),
        ([["a"]], "a", "type"), ([["a"]], ["a", 1], "item type"), ([["a"]], [], "value"),
        ([["a"], ""], [], ""),  # an optional list may be empty
    ]),
    (INTEGERS, [
        ([[1, 2]], [1, 2], ""), ([[1, 2]], [1.0, 2], "item type"),
        ([[1, 2]], [True, 2], "item type"),
        ([[1, 2], ""], [1.0, 2], ""),  # nor are its item types checked
    ]),
    (FLOATS, [
        ([[1.0, 2.5]], [1, 2.5], "item type"), ([[1, 2]], [1, 2], ""), ([[1, 2]], [1.0, 2], ""),
    ]),
    (NESTED, [([[[1], [2]]], [[1], [2]], ""), ([[[1], [2]]], [[1, 2]], "value")]),
    (MIXED, [([[1, "A b"]], [1, "ab"], "")]),
    (TUPLE, [([[1.5, 2.5]], [1.5, 2.5], ""), ([[1.5, 2.5]], [2.5, 1.5], "value")]),
    (DICT, [
        ([{"min": [3], "max": [4, 5]}], {"max": 5, "min": 3}, ""), ([{"min": [3]}], [3], "type"),
        ([{"min": [3]}], {"min": 4}, "value"), ([{"min": [3]}], {"min": 3, "max": 4}, "value"),
        ([{"min": [3], "max": [4]}], {"min": 3}, "value"),
        ([{"min": [3], "max": [4, ""]}], {"min": 3}, ""),
        ([{"min": [3]}, {"max": [4]}], {"max": 4}, ""), (["", {"min": [3]}], {"min": 3}, ""),
        (["", {"min": [3]}], {}, "value"),
        # Strings are normalised one level deep.
        ([{"city": ["St. Ives"]}], {"city": "st ives"}, ""),
        ([{"city": [["A b"]]}], {"city": ["A b"]}, ""),
        ([{"city": [["A b"]]}], {"city": ["a b"]}, "value"),
    ]),
    (DICTS, [
        ([[{"op": [">"]}, {"op": ["="]}]], [{"op": ">"}, {"op": "="}], ""),
        ([[{"op": [">"]}, {"op": ["="]}]], [{"op": "="}, {"op": ">"}], "value"),
        ([[{"op": [">"]}, {"op": ["="]}]], [{"op": ">"}], "value"),
        ([[{"op": [">"]}]], [{"op": ">"}, {"op": ">"}], "value"),
        ([[{"op": ["A b"]}]], [{"op": "ab"}], ""), ([[{"op": [">"]}]], [1], "item type"),
        ([[{"op": [">"]}], ""], [1], "value"), ([[{"op": [">"]}], ""], [], ""),
        ([""], [], ""),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("description", "options", "value", "fault"),
    [(description, *case) for description, cases in VALUES for case in cases],
)
def test_a_value(description: Any, options: list[Any], value: Any, fault: str) -> None:
    for response in (json_call("f", {"x": value}), python_call("f", {"x": value})):
        verdict = grade(response, one(description, options))
        assert verdict.correct == (not fault), response
        assert verdict.reason == (f"wrong {fault} of 'x'" if fault else "right")
        assert verdict.also["name"] and verdict.also["parsed"]


def test_a_python_tuple_is_a_tuple_only() -> None:
    response = "[f(x=(1.5, 2.5))]"
    assert grade(response, one(TUPLE, [[1.5, 2.5]])).correct
    verdict = grade(response, one(FLOATS, [[1.5, 2.5]]))
    assert verdict.reason == "wrong type of 'x'"
    assert verdict.answer != grade("[f(x=[1.5, 2.5])]", one(FLOATS, [[1.5, 2.5]])).answer


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("math.area", RIGHT, "right"),
        ("math_area", RIGHT, "right"),
        ("math.area", {"base": 10, "height": 5}, "right"),
        ("math.area", {"height": 5, "unit": "units"}, "missing required 'base'"),
        ("math.area", {"base": 10, "unit": "units"}, "missing 'height'"),
        ("math.area", RIGHT | {"color": 1}, "unexpected 'color'"),
        ("math.area", RIGHT | {"z" * 99: 1}, f"unexpected '{'z' * 40}…'"),
        ("math.area", RIGHT | {"height": 6}, "wrong value of 'height'"),
        ("volume", {"base": 10}, "wrong function 'volume'"),
        ("area", RIGHT, "wrong function 'area'"),
        ("Math.area", RIGHT, "wrong function 'Math.area'"),
        ("math-area", RIGHT, "wrong function 'math-area'"),
    ],
)
def test_a_call(name: str, arguments: dict[str, Any], reason: str) -> None:
    verdict = grade(json_call(name, arguments), AREA)
    assert (verdict.correct, verdict.reason) == (reason == "right", reason)
    assert verdict.also["name"] is (name in ("math.area", "math_area")) and verdict.also["parsed"]


def test_a_dot_does_not_match_an_underscore_in_the_description() -> None:
    reference = ToolReference((function("my_area", {}),), {"my_area": {}})
    assert grade("[my_area()]", reference).correct
    assert not grade("[my.area()]", reference).correct


@pytest.mark.parametrize(
    ("described", "required", "allowed", "call", "reason"),
    [
        ("xy", (), {"x": [1]}, "f(x=1, y=2)", "unexpected 'y'"),
        ("x", (), {"x": [1], "y": [2]}, "f(x=1, y=2)", "unexpected 'y'"),
        ("x", ("x",), {"x": [1, ""]}, "f()", "missing required 'x'"),
    ],
)
def test_description_and_key_must_agree(
    described: str, required: tuple[str, ...], allowed: Any, call: str, reason: str
) -> None:
    known = function("f", dict.fromkeys(described, INTEGER), required)
    assert grade(call, ToolReference((known,), {"f": allowed})).reason == reason


def test_equal_calls_have_the_same_answer_for_the_vote() -> None:
    answers = [
        grade(json_call("math.area", {"base": 10, "height": 5}), AREA).answer,
        grade(json_call("math_area", {"height": 5, "base": 10}), AREA).answer,
        grade("math.area(height=5, base=10)", AREA).answer,
    ]
    assert answers == ['math.area {"base": 10, "height": 5}'] * 3
    assert grade("math.area(height=5, base=11)", AREA).answer not in answers
    assert grade("volume(base=10)", AREA).answer == 'volume {"base": 10}'


def rows(name: str) -> Iterator[tuple[str, ToolReference]]:
    folder = Path(os.environ["ESR_DATA"]) / "bfcl"
    asked, keys = folder / name, folder / "possible_answer" / name
    for line, key in zip(asked.open(), keys.open(), strict=True):
        row, answer = json.loads(line), json.loads(key)
        assert row["id"] == answer["id"]
        yield row["id"], ToolReference(tuple(row["function"]), answer["ground_truth"][0])


def first(options: list[Any]) -> Any:
    """The first allowed value; an object holds a list of them for each of its keys."""
    value = next(option for option in options if option != "")
    items = value if isinstance(value, list) else [value]
    plain = [
        {key: first(each) for key, each in item.items()} if isinstance(item, dict) else item
        for item in items
    ]
    return plain if isinstance(value, list) else plain[0]


@pytest.mark.skipif("ESR_DATA" not in os.environ, reason="needs the folder of data in ESR_DATA")
def test_the_published_keys_grade_as_right() -> None:
    began, graded = time.process_time(), 0
    for name in ("BFCL_v4_simple_python.json", "BFCL_v4_multiple.json"):
        for id_, reference in rows(name):
            [(called, allowed)] = reference.allowed.items()
            given = {key: first(each) for key, each in allowed.items() if each != [""]}
            for response in (json_call(called, given), python_call(called, given)):
                verdict = grade(response, reference)
                assert verdict.correct and verdict.also["lenient"], id_
                graded += 1
            if id_ in WRONG_KEYS:
                wrong = json_call(called, given | {"venue": "home"})
                assert grade(wrong, reference).reason == "wrong value of 'venue'"
    assert graded == 1200
    assert time.process_time() - began < 3
