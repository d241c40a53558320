"""Rows of training data in every format."""

from __future__ import annotations

import json

import pytest
from training_data import row

from esr_cli.config import ConfigError
from esr_cli.graders.boxed import last_box
from esr_cli.tasks import code, glaive, math
from esr_cli.tasks.rows import read


def test_rows_of_numina_math_and_gsm8k():
    def asked(**values):
        found = math.training_question(row(**values), last_box)
        return found.messages[0]["content"], found.reference

    solution = "First \\boxed{1}, then \\boxed{\\frac{1}{2}}."
    turns = [{"role": "user", "content": "?"}]
    assert asked(problem=" 1+1? ", solution=solution, source="aops", messages=turns) == (
        "1+1?",
        "\\frac{1}{2}",
    )
    assert asked(problem="p", solution="No box.") == ("p", None)
    assert asked(problem="p", answer="3", solution=solution) == ("p", "3")
    assert asked(question="q", answer="So #### 1.\n#### 2") == ("q", "2")
    assert asked(question="q", answer="Just \\boxed{4}") == ("q", "4")
    assert asked(question="q") == ("q", None)
    with pytest.raises(ConfigError, match="field 'question' is missing"):
        asked(answer="2")
    assert math.training_question(row(problem=" "), last_box) is None


def test_rows_of_code_ultra_feedback():
    asked = code.training_question(row(instruction="Sort.\n", responses=[], preference="x"))
    assert (asked.messages[0]["content"], asked.reference) == ("Sort.", None)
    assert code.training_question(row(instruction=None)) is None
    with pytest.raises(ConfigError, match="field 'instruction' is missing"):
        code.training_question(row(prompt="Sort."))


GLAIVE_SYSTEM = (
    "SYSTEM: You are a helpful assistant with access to the following functions. "
    'Use them if required -\n{\n "name": "note", "description": "{odd} braces",\n'
    ' "parameters": {"type": "object", "properties": {}}\n}\n\n{"name": "say"}\n'
)
GLAIVE_CHAT = (
    "USER: Note that it's Bob's.\nTwice.\n\n\nASSISTANT: <functioncall> "
    '{"name": "note", "arguments": \'{"text": "it\'s Bob\'s", "times": 2}\'} <|endoftext|>\n\n\n'
    'FUNCTION RESPONSE: {"status": "ok"}\n\n\nASSISTANT: Done. <|endoftext|>\n\n\nUSER: Thanks'
)


def test_raw_rows_of_glaive_with_apostrophes_in_their_single_quotes():
    asked = glaive.training_question(row(system=GLAIVE_SYSTEM, chat=GLAIVE_CHAT))
    assert asked.messages == ({"role": "user", "content": "Note that it's Bob's.\nTwice."},)
    assert [tool["function"]["name"] for tool in asked.tools] == ["note", "say"]
    assert asked.tools[0]["type"] == "function"
    assert asked.reference.allowed == {"note": {"text": ["it's Bob's"], "times": [2]}}


def test_raw_rows_of_glaive_without_functions_without_a_call_and_without_a_user():
    bare = "SYSTEM: You are a helpful assistant, with no access to external functions.\n"
    asked = glaive.training_question(row(system=bare, chat="USER: Hi\n\n\nASSISTANT: Hello"))
    assert (asked.tools, asked.reference) == ((), None)
    later = f"ASSISTANT: Hello.\n\n\n{GLAIVE_CHAT}"
    asked = glaive.training_question(row(system=GLAIVE_SYSTEM, chat=later))
    assert asked.messages[0]["content"].startswith("Note") and asked.reference is not None
    assert glaive.training_question(row(system=bare, chat="ASSISTANT: Hello")) is None
    broken = 'SYSTEM: functions -\n{"name": '
    assert glaive.training_question(row(system=broken, chat="USER: Hi")) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("""{"name": "f", "arguments": '{"a": "x'}"}'}""", ("f", {"a": "x'}"})),
        (r"""{"name": "f", "arguments": '{"a": "it\'s"}'}""", ("f", {"a": "it's"})),
        ('{"name": "f", "arguments": {"a": 1}}', ("f", {"a": 1})),
        ('{"name": "f", "arguments": "{\\"a\\": 1}"}', ("f", {"a": 1})),
        ('{"name": "f"}', ("f", {})),
        ('{"name": "f", "arguments": \'{"a": }\'}', None),
        ('{"arguments": {}}', None),
        ("call f", None),
        ("[1]", None),
    ],
)
def test_calls_in_every_quoting_style(text, found):
    assert glaive.read_call(text) == found


def test_sharegpt_rows_of_glaive():
    call = {"name": "say", "arguments": {"text": "it's"}}
    turns = [
        {"from": "human", "value": "Say it."},
        {"from": "function_call", "value": json.dumps(call)},
        {"from": "observation", "value": "{}"},
        {"from": "gpt", "value": "Said."},
    ]
    functions = json.dumps([{"name": "say", "description": "Says."}])
    asked = glaive.training_question(row(conversations=turns, tools=functions))
    assert asked.messages[0]["content"] == "Say it."
    assert asked.tools[0]["function"]["description"] == "Says."
    assert asked.reference.allowed == {"say": {"text": ["it's"]}}
    asked = glaive.training_question(row(conversations=turns[:1], tools="[]"))
    assert (asked.tools, asked.reference) == ((), None)
    assert glaive.training_question(row(conversations=turns[2:], tools="[]")) is None
    assert glaive.training_question(row(conversations=turns, tools="[broken")) is None


def test_an_array_is_read_like_lines_and_json_lines_may_be_called_json(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('\n [{"a": 1},\n {"a": 2}]')
    assert [each.values["a"] for each in read(path)] == [1, 2]
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert [each.values["a"] for each in read(path)] == [1, 2]
    path.write_text('[{"a": 1},\n {"a": }]')
    with pytest.raises(ConfigError, match=r"rows\.json:2: not JSON"):
        read(path)
    path.write_text('[{"a": 1}, 3]')
    with pytest.raises(ConfigError, match=r"rows\.json row 1: broken row, 3 is not an object"):
        read(path)


def test_a_table_of_texts_is_told_how_to_become_json_lines(tmp_path):
    (tmp_path / "my.csv").write_text("prompt,answer\n1+1?,2\n")
    with pytest.raises(ConfigError, match=r"read_csv\('my.csv'\).to_json\('my.jsonl', "):
        read(tmp_path / "my.csv")
