"""The grader of function calls: each rule of BFCL by itself, hostile text, the published keys."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esr_cli.graders.calls import MAX_CHARS, Call, CallError, read_calls
from esr_cli.graders.tools import grade
from esr_cli.types import Grade, ToolReference

# A key of the published data that contradicts its own function description: where the type is
# text and the allowed value true, BFCL takes true (as a "variable") and refuses every text.
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
    """`f` with the one parameter `x`."""
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


# What BFCL's rules say of a value `x`: (allowed values, the value, what is wrong with it).
VALUES: list[tuple[dict[str, Any], list[tuple[list[Any], Any, str]]]] = [
    (INTEGER, [
        ([4], 4, ""), ([4], 5, "value"), ([4, 5], 5, ""), (["", 4], 4, ""), ([-4], -4, ""),
        ([4], 4.0, "type"), ([1], True, "type"), ([4], "4", "type"), ([4], None, "type"),
        ([4, ""], "", "type"),  # "" allows to leave it out, not to say it
        # A variable, named as text in the key, is compared as it is written.
        (["max_n"], "max_n", ""), (["max_n"], "MAX_N", "value"), (["max_n"], 7, "value"),
    ]),
    (FLOAT, [([5.0], 5, ""), ([5], 5.0, ""), ([5.5], 5, "value"), ([1.0], True, "type")]),
    (BOOLEAN, [([True], True, ""), ([True], 1, "type"), ([True], False, "value")]),
    (STRING, [
        (["New York, NY"], "new york ny", ""), (["a,b./-_*^c'"], 'ABC"', ""),
        (["a b"], "a;b", "value"), (["a b"], "a\tb", "value"), (["5"], 5, "type"),
        # To say nothing is to leave it out.
        (["", "a"], "", ""), ([""], "a", "value"), ([""], "-", ""),
        # The key's own type is taken, and then nothing else.
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
        ([[1, 2], ""], [1.0, 2], ""),  # nor are its items looked at by type
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
        # Texts are normalised one level deep.
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
        assert verdict.also == {"name": True, "parsed": True}


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
    assert verdict.also == {"name": name in ("math.area", "math_area"), "parsed": True}


def test_an_underscored_function_is_not_found_under_a_dot() -> None:
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


def test_the_vote_is_one_text_for_equal_calls() -> None:
    answers = [
        grade(json_call("math.area", {"base": 10, "height": 5}), AREA).answer,
        grade(json_call("math_area", {"height": 5, "base": 10}), AREA).answer,
        grade("math.area(height=5, base=10)", AREA).answer,
    ]
    assert answers == ['math.area {"base": 10, "height": 5}'] * 3
    assert grade("math.area(height=5, base=11)", AREA).answer not in answers
    assert grade("volume(base=10)", AREA).answer == 'volume {"base": 10}'


BARE = '{"name": "f", "arguments": {"x": [1, "a"]}}'


TAG = "<tool_call>"
CLOSED = f"{TAG}{BARE}</tool_call>"
FORMS = [
    CLOSED, f"I shall call it.\n{TAG}\n{BARE}\n</tool_call>\nDone.", BARE, f" [{BARE}] ",
    f"<think>f(x=2) or {{}}?</think>\n\n{CLOSED}", f"[\n {BARE}\n]", f"```json\n{BARE}\n```",
    f"```\n{BARE}\n```", f"```{BARE}```", f"```{BARE}\n```",
    BARE.replace("arguments", "parameters"),
    json.dumps({"name": "f", "arguments": '{"x": [1, "a"]} '}),
    "[f(x=[1, 'a'])]", "f(x=[1, 'a'])", "[f(x=[1, 'a'])", "`f(x=[1, 'a'])`",
    "```python\n[f(x=[1, 'a'])]\n```",
    "[\n  f(\n    x=[+1, a],  # a bare word is the text of its name\n  ),\n]",
]  # fmt: skip


@pytest.mark.parametrize("response", FORMS)
def test_forms_of_one_call(response: str) -> None:
    assert read_calls(response) == [Call("f", {"x": [1, "a"]})]


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("a.b.f(x=-1)", -1),
        ("a.b.f(x=-1.5e3)", -1500.0),
        ("a.b.f(x=[(1, 'a'), {'b': [True, None]}])", [(1, "a"), {"b": [True, None]}]),
        ("a.b.f(x='f(y=1), g(z=2)')", "f(y=1), g(z=2)"),
        (r"a.b.f(x='\u00e9\d')", r"é\d"),
        ('{"name": "a.b.f", "arguments": {"x": "\\u0000\\ud800"}}', "\x00\ud800"),
    ],
)
def test_literals(response: str, value: Any) -> None:
    assert read_calls(response) == [Call("a.b.f", {"x": value})]
    assert grade(response, one(INTEGER, [0])).answer is not None


@pytest.mark.parametrize(
    "response",
    [
        "[f(x=1), f(x=1)]",
        "f(x=1), g(y=2)",
        f"{CLOSED}\n{CLOSED}",
        f"{BARE}\n{BARE}",
        f"{BARE}; {BARE}",
        f"[{BARE}, {BARE}]",
    ],
)
def test_two_calls_are_one_too_many(response: str) -> None:
    verdict = grade(response, one(INTEGER, [1]))
    assert verdict == Grade(False, "2 calls, not one", None, {"name": False, "parsed": True})


DEEP = "{'a': " * 40


def told(x: str) -> str:
    return BARE.replace("1", x)


UNREADABLE = {
    "no call": ["", "[]", "``````", "<think>" * 100_000 + "</think>" * 100_000],
    "neither JSON nor a call": [
        "f", "The area is 25.", "Sure: f(x=1)", "f(x=1)\nf(x=1)", "f(x=1", "import os",
        "[f(x=1)][0]", "f(x=1)\0", "f(x='\0')", "f(x='\ud800')", f"f(x={'9' * 10_000})",
        "[" * 10_000, f"f(x={'[' * 9000}1)",
    ],
    "malformed JSON": [
        BARE[:-1], BARE + "}", BARE.replace('"', "'"), told("01"), told("\0"), told("9" * 10_000),
        CLOSED + TAG + "{</tool_call>", '{"name": "f", "arguments": "{}{}"}',
        '{"name": "f", "arguments": "{"}',
    ],
    f"unclosed {TAG}": [TAG + BARE, CLOSED + TAG + BARE, TAG * 100_000],
    "JSON without a name": ['{"arguments": {"x": 1}}', BARE.replace('"f"', "1"), f"[{BARE}, 1]"],
    "JSON without arguments": ['{"name": "f", "x": 1}'],
    "arguments given twice": ['{"name": "f", "arguments": {}, "parameters": {"x": 1}}'],
    "arguments are no object": ['{"name": "f", "arguments": [1]}'],
    "duplicate key": [
        '{"name": "g", "name": "f", "arguments": {"x": 1}}',
        '{"name": "f", "arguments": {"x": 2, "x": 1}}', "f(x=2, x=1)", "f(x={'a': 1, 'a': 2})",
        '{"name": "f", "arguments": "{\\"x\\": 2, \\"x\\": 1}"}',
    ],
    "NaN is no JSON": [told("NaN")], "Infinity is no JSON": [told("Infinity")],
    "-Infinity is no JSON": [told("-Infinity")],
    "number out of range": [
        told("1e999"), told("-1e999"), told("9" * 400), "f(x=1e999)", "f(x=-1e999)",
        f"f(x=0x{'f' * 10_000})",
    ],
    "positional argument": ["f(1)", "f(1, x=1)", "f(*[1])"],
    "starred argument": ["f(**{'x': 1})"],
    "function without a name": ["f(x=1)(x=1)", "f[0](x=1)", "(lambda: 0)(x=1)"],
    "argument is no literal": [
        "f(x=-True)", "f(x=-'a')", "f(x=not 1)", "f(x=~1)", "f(x=2+3)", "f(x=g())", "f(x=a.b)",
        "f(x={1})", "f(x=f'{1}')", "f(x=[y for y in [1]])",
        'f(x=1+__import__("os").system("id"))', 'f(x=__import__("os").system("id"))',
    ],
    "dict key is no text": ["f(x={1: 2})", "f(x={**{}})"], "bytes is no argument": ["f(x=b'a')"],
    "ellipsis is no argument": ["f(x=...)"], "complex is no argument": ["f(x=1j)"],
    "nested too deep": [
        told("[" * 40 + "]" * 40), told(DEEP.replace("'", '"') + "1" + "}" * 40),
        f"f(x={'[' * 40}{']' * 40})", f"f(x={'(1, ' * 40}{')' * 40})",
        f"f(x={DEEP}1{'}' * 40})", f"f{'.a' * 40}(x=1)",
    ],
    "too long": [
        told("1" * MAX_CHARS), f"f(x='{'a' * 1_000_000}')", "[" * 1_000_000, '{"a":' * 200_000,
        CLOSED * 20_000,
    ],
    # Each Python has limits of its own for these.
    "": [
        told("[" * 5000 + "]" * 5000), '{"a":' * 3000, "[{" + '"a":[{' * 2000,
        "[" * 9999 + "]" * 9999, f"f(x={'-' * 10_000}1)", f"f(x={'not ' * 4000}1)",
        f"f(x={'1+' * 9000}1)",
        f"f{'.a' * 9000}(x=1)", f"f{'()' * 5000}(x=1)",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "response"),
    [(reason, response) for reason, responses in UNREADABLE.items() for response in responses],
    ids=lambda text: repr(text[:30]),
)
def test_text_that_is_no_call(reason: str, response: str) -> None:
    began = time.perf_counter()
    verdict = grade(response, one(INTEGER, [1]))
    assert time.perf_counter() - began < 1
    assert verdict.reason == reason or not reason
    assert verdict == Grade(False, verdict.reason, None, {"name": False, "parsed": False})
    with pytest.raises(CallError):
        read_calls(response)


def test_a_call_after_a_megabyte_of_thought_is_found() -> None:
    response = f"<think>{'[f(x=2)] {' * 100_000}</think>{json_call('f', {'x': 1})}"
    assert grade(response, one(INTEGER, [1])).correct


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
    began, graded = time.perf_counter(), 0
    for name in ("BFCL_v4_simple_python.json", "BFCL_v4_multiple.json"):
        for id_, reference in rows(name):
            [(called, allowed)] = reference.allowed.items()
            given = {key: first(each) for key, each in allowed.items() if each != [""]}
            for response in (json_call(called, given), python_call(called, given)):
                assert grade(response, reference).correct, id_
                graded += 1
            if id_ in WRONG_KEYS:
                said = json_call(called, given | {"venue": "home"})
                assert grade(said, reference).reason == "wrong value of 'venue'"
    assert graded == 1200
    assert time.perf_counter() - began < 3
