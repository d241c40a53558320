"""Rows of data become questions, and questions become prompts."""

from __future__ import annotations

import gzip

import pytest
from hydra import compose, initialize_config_dir
from transformers import AutoTokenizer

from esr_cli.assembly import preflight
from esr_cli.base.files import conf_dir
from esr_cli.benchmarks import catalog
from esr_cli.config import ConfigError, EvalConfig, gate
from esr_cli.models.loading import PACKAGED
from esr_cli.tasks import code, math, rows, tools
from esr_cli.tasks.chat import Chat
from esr_cli.tasks.rows import Row

WORDING = "{problem}\n\nBox it."
FUNCTION = {
    "name": "shop.find",
    "description": "Finds a shop.",
    "parameters": {
        "type": "dict",
        "properties": {
            "type": {"type": "string", "description": "a type"},
            "near": {"type": "tuple", "items": {"type": "float"}},
        },
        "required": ["type"],
    },
}
ASKED = {"id": "s_0", "question": [[{"role": "user", "content": "A bakery?"}]]}
ANSWER = {"id": "s_0", "ground_truth": [{"shop.find": {"type": ["bakery"], "near": [""]}}]}
WITH_TOOLS = (
    "{% if tools %}{{ tools | tojson }}\n{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
)


def row(values, number=0):
    return Row("file:1", number, values)


def settings(name):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        tree = compose("eval", overrides=[f"benchmark={name}", "model=x"])
    return gate.read(tree, EvalConfig).benchmark[name]


def test_rows_of_math_and_of_gsm8k():
    asked = math.question(row({"problem": " 1+1? ", "answer": "2"}, number=7), WORDING)
    assert asked.messages[0]["content"] == "1+1?\n\nBox it."
    assert (asked.id, asked.reference) == ("7", "2")
    asked = math.question(row({"question": "1+1?", "answer": "One #### more.\n#### 2"}), WORDING)
    assert asked.reference == "2"
    with pytest.raises(ConfigError, match="no number after ####"):
        math.question(row({"question": "1+1?", "answer": "2"}), WORDING)


def test_latex_braces_survive_the_wording():
    asked = math.question(row({"problem": "\\frac{1}{2}", "answer": "1"}), "{problem} \\boxed{}")
    assert asked.messages[0]["content"] == "\\frac{1}{2} \\boxed{}"


def test_a_row_of_code_with_and_without_the_plus_inputs():
    values = {
        "task_id": "T/1", "prompt": "def f(x):\n", "entry_point": "f", "atol": 0,
        "canonical_solution": "    return x\n", "base_input": [[1]], "plus_input": [[2], [3]],
    }  # fmt: skip
    asked = code.question(row(values), "humaneval", False, WORDING)
    assert asked.reference.inputs == ((1,),)
    asked = code.question(row(values), "humaneval", True, WORDING)
    assert asked.reference.inputs == ((1,), (2,), (3,)) and asked.reference.base_count == 1
    del values["entry_point"]
    with pytest.raises(ConfigError, match="field 'entry_point' is missing"):
        code.question(row(values), "humaneval", False, WORDING)


def test_bfcl_rows_are_joined_with_answers_and_use_json_schema_types():
    asked = row({**ASKED, "function": [FUNCTION]})
    [question] = tools.questions([asked], [row(ANSWER)], "{problem}")
    schema = question.tools[0]["function"]["parameters"]
    assert schema["type"] == "object"
    # A parameter named `type` is not a type.
    assert schema["properties"]["type"]["type"] == "string"
    assert schema["properties"]["near"] == {"type": "array", "items": {"type": "number"}}
    assert question.reference.functions[0]["parameters"]["type"] == "dict"
    assert question.reference.allowed["shop.find"]["type"] == ["bakery"]
    with pytest.raises(ConfigError, match="no possible answer"):
        tools.questions([asked], [row({**ANSWER, "id": "s_1"})], "{problem}")


def test_functions_go_into_the_template_or_else_into_the_text():
    tokenizer = AutoTokenizer.from_pretrained(PACKAGED / "student")
    asked = row({**ASKED, "function": [FUNCTION]})
    config = settings("bfcl")
    questions = tools.questions([asked], [row(ANSWER)], config.wording)
    bench = catalog.Benchmark("bfcl", config, questions)
    assert not Chat(tokenizer).shows_tools
    [prompt] = preflight.prompts_of(bench, Chat(tokenizer))
    assert '"name": "shop.find"' in prompt.text and prompt.text.endswith("A bakery?")
    tokenizer.chat_template = WITH_TOOLS
    [prompt] = preflight.prompts_of(bench, Chat(tokenizer))
    assert Chat(tokenizer).shows_tools and prompt.text == "A bakery?"


def test_without_a_template_the_contents_are_concatenated():
    tokenizer = AutoTokenizer.from_pretrained(PACKAGED / "student")
    tokenizer.chat_template = None
    asked = math.question(row({"problem": "find a ?", "answer": "2"}), "{problem}")
    assert Chat(tokenizer).encode(asked) == tuple(tokenizer("find a ?\n\n").input_ids)


def test_compressed_files_and_blank_lines_are_read(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write('{"a": 1}\n\n{"a": 2}\n')
    assert [(r.values["a"], r.number, r.where) for r in rows.read(path)] == [
        (1, 0, f"{path}:1"),
        (2, 1, f"{path}:3"),
    ]
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ConfigError, match="cannot be read"):
        rows.read(path)


@pytest.mark.parametrize("line", ["[1]", "{", '{"a": NaN', "null", "[" * 100_000])
def test_a_broken_row_is_reported_with_its_line(line, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n' + line + "\n")
    with pytest.raises(ConfigError, match=r"rows\.jsonl:2: broken row"):
        rows.read(path)
