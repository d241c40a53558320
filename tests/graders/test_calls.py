"""Parsing of function calls: accepted forms, and text without a valid call."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from test_tools_grader import INTEGER, json_call, one

from esr_cli.graders.calls import MAX_CHARS, Call, CallError, read_calls
from esr_cli.graders.tools import grade
from esr_cli.types import Grade

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
    "[\n  f(\n    x=[+1, a],  # a bare name is a string\n  ),\n]",
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
def test_two_calls_are_refused(response: str) -> None:
    verdict = grade(response, one(INTEGER, [1]))
    assert verdict == Grade(False, "2 calls, not one", None, {"name": False, "parsed": True})


DEEP = "{'a': " * 40


def bare(x: str) -> str:
    """Returns the bare JSON call with another value of `x`."""
    return BARE.replace("1", x)


UNREADABLE = {
    "no call": ["", "[]", "``````", "<think>" * 100_000 + "</think>" * 100_000],
    "neither JSON nor a call": [
        "f", "The area is 25.", "Sure: f(x=1)", "f(x=1)\nf(x=1)", "f(x=1", "import os",
        "[f(x=1)][0]", "f(x=1)\0", "f(x='\0')", "f(x='\ud800')", f"f(x={'9' * 10_000})",
        "[" * 10_000, f"f(x={'[' * 9000}1)",
    ],
    "malformed JSON": [
        BARE[:-1], BARE + "}", BARE.replace('"', "'"), bare("01"), bare("\0"), bare("9" * 10_000),
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
    "NaN is no JSON": [bare("NaN")], "Infinity is no JSON": [bare("Infinity")],
    "-Infinity is no JSON": [bare("-Infinity")],
    "number out of range": [
        bare("1e999"), bare("-1e999"), bare("9" * 400), "f(x=1e999)", "f(x=-1e999)",
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
        bare("[" * 40 + "]" * 40), bare(DEEP.replace("'", '"') + "1" + "}" * 40),
        f"f(x={'[' * 40}{']' * 40})", f"f(x={'(1, ' * 40}{')' * 40})",
        f"f(x={DEEP}1{'}' * 40})", f"f{'.a' * 40}(x=1)",
    ],
    "too long": [
        bare("1" * MAX_CHARS), f"f(x='{'a' * 1_000_000}')", "[" * 1_000_000, '{"a":' * 200_000,
        CLOSED * 20_000,
    ],
    # The limits for these depend on the Python version.
    "": [
        bare("[" * 5000 + "]" * 5000), '{"a":' * 3000, "[{" + '"a":[{' * 2000,
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


def test_a_call_after_a_long_chain_of_thought_is_found() -> None:
    response = f"<think>{'[f(x=2)] {' * 100_000}</think>{json_call('f', {'x': 1})}"
    assert grade(response, one(INTEGER, [1])).correct
