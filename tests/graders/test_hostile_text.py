"""Text that strangers wrote is read in bounded time by the process that grades."""

from __future__ import annotations

import time
from functools import partial

import pytest

from esr_cli.graders import extract, oracles, tools, wire
from esr_cli.graders.math import MathGrader
from esr_cli.graders.plain import PlainGrader
from esr_cli.types import CodeReference, ToolReference

MIB = 1 << 20
PROPERTIES = {"x": {"type": "integer"}}
FUNCTION = {"name": "f", "parameters": {"type": "dict", "properties": PROPERTIES, "required": []}}
CALL = ToolReference((FUNCTION,), {"f": {"x": [1]}})
UNITS = {
    "brackets": "(", "braces": "{", "lists": "[", "objects": '{"a":', "digits": "9",
    "powers": "9**",
    "fences": "```\n", "blocks": "~~~\nf = 1\n~~~\n", "quotes": "> - ```\n", "lines": "\n",
    "boxes": "\\boxed{1}", "open boxes": "\\boxed{", "bare boxes": "$\\boxed ", "blanks": " ",
    "fractions": "\\frac{", "roots": "\\sqrt", "texts": "\\text{ ", "thoughts": "<think>",
    "functions": "<function=", "keys": "<arg_key>", "tags": "<tool_call>", "calls": "f(x=1)\n",
    "nested calls": "f(x=", "strings": '"', "minus": "-", "attributes": "a.", "stars": "* ",
}  # fmt: skip


def grade_math(text):
    grader = MathGrader(workers=1)
    try:
        # An equal box needs no worker.
        [grade] = grader.grade([(text + "\\boxed{}\\boxed{(1,2)}", "(1,2)")])
        return grade.correct
    finally:
        grader.close()


# The reader, and the length of its texts in characters.
READERS = {
    "math": (grade_math, MIB),
    "code": (partial(extract.programs, prompt="def f(x):\n", entry_point="f"), MIB // 10),
    "calls": (lambda text: tools.grade(text, CALL), MIB - 100_000),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_long_response_takes_seconds_at_most(reader):
    (read, length), slow = READERS[reader], {}
    for name, unit in UNITS.items():
        began = time.process_time()
        read(unit * (length // len(unit)))
        slow[name] = time.process_time() - began
    assert max(slow.values()) < 5, slow


def test_many_blocks_make_a_bounded_number_of_programs():
    text = "".join(f"```python\ndef f(x): return {n}\n```\n" for n in range(5000))
    programs = extract.programs(text, "import os\n" * 100 + "def f(x):\n", "f")
    assert programs[0].endswith("return 4999\n") or "return 4999" in programs[0]
    assert len(programs) < 2 * extract.MOST_PROGRAMS


def test_boxes_without_end_are_compared_up_to_a_bound():
    text = "".join(f"\\boxed{{{n}x+y}}" for n in range(100_000))
    began = time.process_time()
    assert grade_math(text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "line",
    [b"9" * 400 + b',"int",1', b'1e999,"int",["s",["D","sNaN"]]', b'0.1,"int",["D","1e"]',
     b'0.1,"int",' + b'["l",' * 900 + b"1" + b"]" * 900, b'0.1,"int",' + b"1" * MIB],
    ids=["a long time", "a signalling NaN", "no decimal", "deep", "long"],
)  # fmt: skip
def test_a_line_that_cannot_be_decoded_is_malformed(line):
    assert list(wire.read(b'x ["ready"]\nx ["ok",' + line + b"]\n", "x", 1)) == [
        wire.Failure(wire.MALFORMED)
    ]


@pytest.mark.parametrize("task", ["Diff", "find_zero", "digit_distance_nums", "g"])
@pytest.mark.parametrize(
    "value", [10**4000, float("nan"), "9" * MIB, [[]] * 1000, {1: {2}}, wire.Opaque("x"), None]
)
def test_an_oracle_answers_whatever_it_is_given(task, value):
    family = "humaneval" if task == "find_zero" else "mbpp"
    reference = CodeReference(family, "", task, "", ((),), 1, 1e-3)
    given = (1, 2) if task == "digit_distance_nums" else ([1, 2, 3],)
    expected, result = wire.Result([0.1], "list", 0.0), wire.Result(value, "list", 0.0)
    assert not oracles.is_right(reference, given, expected, result)


def test_a_response_that_breaks_a_parser_is_wrong_and_a_broken_reference_is_not_judged():
    def grade(response, reference):
        raise RecursionError

    [broken] = PlainGrader(grade).grade([("", "")])
    assert (broken.correct, broken.judged, broken.reason) == (
        False, True, "cannot be read (RecursionError)",
    )  # fmt: skip
    odd = {"name": "f", "parameters": {"properties": {"x": {"type": "colour"}}}}
    for reference, reason in (
        (ToolReference((FUNCTION,), {"g": {}}), "describes no right function"),
        (ToolReference((odd,), {"f": {"x": [1]}}), "the unknown type 'colour'"),
    ):
        [grade_] = PlainGrader(tools.grade).grade([("f(x=1)", reference)])
        assert not grade_.judged and reason in grade_.reason
    [right] = PlainGrader(tools.grade).grade([("f(x=1)", CALL)])
    assert right.judged and right.correct
