"""Rows of training data in every format, from files and by name."""

from __future__ import annotations

import json
import os

import pytest
from test_training_tasks import chat, load, no_data, row, settings, write  # noqa: F401

from esr_cli.assembly import data
from esr_cli.config import ConfigError
from esr_cli.graders.boxed import last_box
from esr_cli.tasks import code, glaive, math, own
from esr_cli.tasks.rows import read
from esr_cli.types import Question


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
def test_calls_however_they_are_quoted(text, found):
    assert glaive.read_call(text) == found


def test_shared_rows_of_glaive():
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


def test_rows_of_ones_own():
    asked = own.training_question(row(prompt="Hi", id=7, reference={"a": 1}, other="unread"))
    assert asked == Question("7", ({"role": "user", "content": "Hi"},), {"a": 1})
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    function = {"name": "f", "parameters": {}}
    asked = own.training_question(row(messages=turns, tools=[function]))
    assert asked.messages == tuple(turns) and asked.tools[0]["function"] == function
    wrapped = own.training_question(
        row(messages=turns, tools=[{"type": "function", "function": function}])
    )
    assert wrapped.tools == asked.tools


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"prompt": ', "broken row, not JSON"),
        ('{"text": "x"}', "neither 'prompt' nor 'messages'; give one of them"),
        ('{"prompt": 3}', "field 'prompt' is 3; it must be a text"),
        ('{"prompt": "x", "messages": []}', "both 'prompt' and 'messages'"),
        ('{"messages": "x"}', "field 'messages' is x; it must be a list"),
        ('{"messages": []}', "no turn of the user; add it"),
        ('{"messages": [{"role": "human", "content": "x"}]}', "a turn that is not"),
        ('{"messages": [{"role": "user", "content": "x", "name": "y"}]}', "a turn that is not"),
        (
            '{"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]}',
            "ends with a turn of assistant",
        ),
        ('{"prompt": "x", "tools": [{"parameters": {}}]}', "an entry without a name"),
        ('{"prompt": "x", "id": [1]}', "field 'id' must be"),
    ],
)
def test_a_broken_row_is_refused_by_its_line(tmp_path, line, said):
    (tmp_path / "my.jsonl").write_text('{"prompt": "a"}\n\n' + line + '\n{"prompt": "b"}\n')
    with pytest.raises(ConfigError) as refused:
        load(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path}/my.jsonl:3: ")
    assert said in str(refused.value) and "\n" not in str(refused.value)


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
    with pytest.raises(ConfigError, match=r"rows\.json row 1: broken row, 3 where an object"):
        read(path)


def test_a_file_of_ones_own_is_found_where_one_stands_and_below_data_dir(tmp_path, monkeypatch):
    write(tmp_path / "here" / "my.jsonl", [{"prompt": "here"}])
    write(tmp_path / "data" / "my.jsonl", [{"prompt": "there"}])

    def asked(files):
        found = load(tmp_path / "data", "prompts_per_step=1", files=files)
        return found.questions[0].messages[0]["content"]

    assert asked(["my.jsonl"]) == "there"
    assert asked([f"{tmp_path}/here/my.jsonl"]) == "here"
    monkeypatch.chdir(tmp_path / "here")
    assert asked(["my.jsonl"]) == "here"
    with pytest.raises(ConfigError, match=r"gone\.jsonl: not in .*; put your file there"):
        asked(["gone.jsonl"])
    with pytest.raises(ConfigError, match=r"task\.files=\[\]: name your own"):
        load(tmp_path, files=[])


def test_a_set_is_downloaded_by_name_where_its_file_is_not_at_hand(tmp_path):
    # `datasets` takes a folder laid out as a repository for a name.
    values = [{"problem": f"p {i}", "solution": "\\boxed{1}"} for i in range(3)]
    write(tmp_path / "hub" / "train.jsonl", values)
    task = load(
        tmp_path, f"task.hub.path={tmp_path}/hub", "task.rows=2", task="math", files=["gone.jsonl"]
    )
    assert task.report.startswith("math: 2 rows, 0 duplicates")
    assert [each.reference for each in task.questions] == ["1", "1"]


# Ids.


REAL = pytest.mark.skipif(not os.environ.get("ESR_DATA"), reason="ESR_DATA names no folder")
ROOMY = ("pair.context_tokens=4096", "pair.max_response_tokens=1024")


def real(*overrides):
    return data.load(settings(*ROOMY, *overrides), chat(), chat())


@REAL
def test_real_gsm8k():
    task = real("task=gsm8k")
    assert task.report == (
        "math: 7,473 rows, 0 duplicates, 4 in gsm8k_test, 0 too long; 7,469 prompts"
    )
    assert all(each.reference for each in task.questions)


@REAL
def test_real_glaive():
    task = real("task=tools", "task.files=[glaive_toolcall_sample.json]")
    assert task.report.startswith("tools: 300 rows, 38 duplicates, 0 in benchmarks")
    unfiltered = real(
        "task=tools", "task.files=[glaive_toolcall_sample.json]", "task.drop_duplicates=false",
        "task.max_prompt_tokens=null", "pair.context_tokens=100000",
    )  # fmt: skip
    assert len(unfiltered.questions) == 300
    assert sum(each.reference is not None for each in unfiltered.questions) == 106
    assert sum(bool(each.tools) for each in unfiltered.questions) == 191


@REAL
@pytest.mark.parametrize("file", ["math500.jsonl", "gsm8k_test.jsonl"])
def test_real_benchmarks_find_themselves(file):
    with pytest.raises(ConfigError, match="0 too long; 0 prompts"):
        real("task=math", f"task.files=[{file}]", "task.drop_duplicates=false")
