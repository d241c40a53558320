"""Parsing of function calls: accepted forms, and text without a valid call."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from test_tools_grader import BOOLEAN, DICT, FLOAT, INTEGER, INTEGERS, STRING, json_call, one

from esr_cli.graders.call_types import MAX_CHARS, Call, CallError
from esr_cli.graders.calls import read_calls
from esr_cli.graders.tools import grade
from esr_cli.types import Grade

BARE = '{"name": "f", "arguments": {"x": [1, "a"]}}'

TAG = "<tool_call>"
DEEPSEEK = "<\uff5ctool▁%s\uff5c>"
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
    # A closing tag that the stop token replaces, tags of other models, stuttered tags.
    TAG + BARE, f"{TAG}\n{TAG}\n{BARE}\n</tool_call>\n</tool_call>", f"{BARE}</tool_call>",
    f"<TOOL_CALL>{BARE}</TOOL_CALL>", f"<function_call>{BARE}</function_call>",
    f"<|tool_call|>[{BARE}]", f"[TOOL_CALLS] [{BARE}]</s>", '[TOOL_CALLS]f[ARGS]{"x": [1, "a"]}',
    f"<|python_tag|>{BARE}<|eom_id|>",
    "<|tool_call_start|>[f(x=[1, 'a'])]<|tool_call_end|><|im_end|>",
    f"{TAG}\n```json\n{BARE}\n```\n</tool_call>", f"{CLOSED}<|im_end|>\n<|endoftext|>",
    'f\n{"x": [1, "a"]}', "```tool_code\nprint(f(x=[1, 'a']))\n```",
    # Prose around a fenced block, or before a call on a line of its own.
    f"Here it is:\n\n```json\n{BARE}\n```\nIt calls f.", f"Here it is:\n{BARE}",
    f"Here it is:\n{json.dumps(json.loads(BARE), indent=2)}\nDone.", "So:\n[f(x=[1, 'a'])]",
    f"```json\n{BARE}\n```\nIt returns:\n```\n25\n```",
    # Python for JSON and JSON for Python.
    BARE.replace('"', "'"), BARE.replace("]}", "],}"), "y = f(x=[1, 'a'])", "f(x=[1, 'a']).",
    "print(f(x=[1, 'a']))", "y = f(x=[1, 'a'])\nprint(y)", "**f(x=[1, 'a'])**",
    "So:\n```python\nimport m\ny = f(x=[1, 'a'])\nprint(y)\n```", f"<tools>{BARE}</tools>",
    "f(x=[0x1, 'a']);",
    # Other words for the same.
    *(BARE.replace("arguments", word) for word in ("args", "input", "kwargs")),
    *(BARE.replace("name", word) for word in ("function", "tool", "tool_name")),
    '{"f": {"x": [1, "a"]}}', f'{{"type": "function", "function": {BARE}}}',
    f'{{"tool_calls": [{{"id": "1", "function": {BARE}}}]}}', f'{{"function_call": {BARE}}}',
    '{"type": "tool_use", "id": "7", "name": "f", "input": {"x": [1, "a"]}}',
    '[{"type": "text", "text": "So"}, {"type": "tool_use", "name": "f", "input": {"x": [1, "a"]}}]',
    # The marks of DeepSeek, Kimi and Phi.
    f"{DEEPSEEK % 'calls▁begin'}{DEEPSEEK % 'call▁begin'}function{DEEPSEEK % 'sep'}"
    f'f\n```json\n{{"x": [1, "a"]}}\n```{DEEPSEEK % "call▁end"}{DEEPSEEK % "calls▁end"}',
    f"{DEEPSEEK % 'call▁begin'}f{DEEPSEEK % 'sep'}" '{"x": [1, "a"]}',
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
    '{"x": [1, "a"]}<|tool_call_end|><|tool_calls_section_end|>',
    f"functools[{BARE}]",
]  # fmt: skip

NONE = {"parsed": False, "name": False, "lenient": False}


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
        f"{TAG}{BARE}{TAG}{BARE}",
        "f(x=1)\nf(x=1)",
        f"f(x=2)\n```\n{BARE}\n```",
        f"```\n{BARE}\n```\nor\n```\n{BARE}\n```",
        f'{{"tool_calls": [{BARE}, {BARE}]}}',
        2 * "<function=f><parameter=x>1</parameter></function>",
    ],
)
def test_two_calls_are_refused(response: str) -> None:
    verdict = grade(response, one(INTEGER, [1]))
    assert verdict == Grade(False, "2 calls, not one", None, NONE | {"parsed": True})


DEEP = "{'a': " * 40


def bare(x: str) -> str:
    """Returns the bare JSON call with another value of `x`."""
    return BARE.replace("1", x)


UNREADABLE = {
    "no call": [
        "", "[]", "``````", TAG * 90_000, f"<think>{CLOSED}", " \n" * 500_000 + "</s>" * 50_000,
        "<think>" * 100_000 + "</think>" * 100_000,
    ],
    "neither JSON nor a call": [
        "f", "The area is 25.", "Sure: f(x=1)", f"I would not write {BARE}.", "f(x=1", "import os",
        "[f(x=1)][0]", "f(x=1)\0", "f(x='\0')", "f(x='\ud800')", f"f(x={'9' * 10_000})",
        "[" * 10_000, f"f(x={'[' * 9000}1)",
    ],
    "malformed JSON": [
        BARE[:-1], BARE + "}", TAG + BARE[:-1], f"{BARE} is it", bare("01"), bare("\0"),
        bare("9" * 10_000),
        CLOSED + TAG + "{</tool_call>", '{"name": "f", "arguments": "{}{}"}',
        '{"name": "f", "arguments": "{"}',
    ],
    "JSON without a name": ['{"arguments": {"x": 1}}', BARE.replace('"f"', "1"), f"[{BARE}, 1]"],
    "JSON without arguments": ['{"name": "f", "x": 1}'],
    "arguments given twice": ['{"name": "f", "arguments": {}, "parameters": {"x": 1}}'],
    "named twice": ['{"name": "f", "tool": "g", "arguments": {}}'],
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
    began = time.process_time()
    verdict = grade(response, one(INTEGER, [1]))
    assert time.process_time() - began < 1
    assert verdict.reason == reason or not reason
    assert verdict == Grade(False, verdict.reason, None, NONE)
    with pytest.raises(CallError):
        read_calls(response)


def coder(*values: str) -> str:
    """Qwen3.5's form of a call of f with the parameter x."""
    parameters = "".join(f"<parameter=x>\n{value}\n</parameter>\n" for value in values)
    return f"{TAG}\n<function=f>\n{parameters}</function>\n</tool_call>"


def glm(value: str) -> str:
    return f"{TAG}f\n<arg_key>x</arg_key>\n<arg_value>{value}</arg_value>\n</tool_call>"


def invoke(value: str) -> str:
    return f'<invoke name="f">\n<parameter name="x">{value}</parameter>\n</invoke>'


@pytest.mark.parametrize("form", [coder, glm, invoke])
@pytest.mark.parametrize(
    ("description", "key", "text", "right"),
    [
        (INTEGER, 10, "10", True), (INTEGER, 10, "11", False), (INTEGER, 10, "10.0", False),
        (INTEGER, 10, '"10"', False), (FLOAT, 5.0, "5", True), (BOOLEAN, True, "true", True),
        (BOOLEAN, True, "True", True), (BOOLEAN, True, "1", False), (BOOLEAN, True, "yes", False),
        (STRING, "10", "10", True), (STRING, "true", "true", True),
        (STRING, 'say "a"\nb', 'say "a"\nb', True), (STRING, "a", "b", False),
        (INTEGERS, [1, 2], "[1, 2]", True), (INTEGERS, [1, 2], "1, 2", False),
        (DICT, {"a": [1]}, '{"a": 1}', True), (DICT, {"a": [1]}, "{'a': 1}", True),
        (DICT, {"a": [1]}, '{"a": 1, "a": 1}', False), (INTEGER, 10, "9" * 10_000, False),
    ],
)  # fmt: skip
def test_a_value_between_tags_has_the_described_type(form, description, key, text, right):
    assert grade(form(text), one(description, [key])).correct == right


@pytest.mark.parametrize(
    "response",
    [
        coder("10").removeprefix(f"{TAG}\n"), coder("10").removesuffix("</tool_call>"),
        coder("10").replace("</parameter>\n", ""), coder("10").replace("\n", ""),
        f"I call f.\n{coder('10')}\nDone.", '<function=f>{"x": 10}</function>',
        f"<function_calls>\n{invoke('10')}\n</function_calls>", glm("10").replace("\n", ""),
        "functions.f(x=10)", "default_api.f(x=10)",
    ],
)  # fmt: skip
def test_forms_of_a_call_between_tags(response: str) -> None:
    assert grade(response, one(INTEGER, [10])).correct


def test_a_parameter_given_twice_between_tags_is_refused() -> None:
    assert grade(coder("10", "10"), one(INTEGER, [10])).reason == "duplicate key"


def test_json_s_words_are_values_in_a_python_call() -> None:
    assert grade("f(x=true)", one(BOOLEAN, [True])).correct
    assert not grade("f(x=null)", one(STRING, ["a", ""])).correct


def test_a_call_after_a_long_chain_of_thought_is_found() -> None:
    response = f"<think>{'[f(x=2)] {' * 100_000}</think>{json_call('f', {'x': 1})}"
    assert grade(response, one(INTEGER, [1])).correct
