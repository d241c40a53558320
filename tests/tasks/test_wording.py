"""Wordings by role: what stands in the system turn and in the user turn, of task and benchmarks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from test_chat import ASKED, FUNCTION, GEMMA, OFFERED, QWEN3, QWEN25, chat
from test_tasks import ANSWER
from test_tasks import ASKED as BFCL_ASKED
from test_tasks import FUNCTION as SHOP
from training_data import settings, write

from esr_cli.assembly import data
from esr_cli.benchmarks import catalog
from esr_cli.tasks.lab import LabTask
from esr_cli.tasks.wording import placed
from esr_cli.types import Question

BOX = "Please reason step by step, and put your final answer within \\boxed{}."
STEPS = "Let's think step by step and output the final answer within \\boxed{}."
SPOKEN = Question("q", ({"role": "system", "content": "In French."}, *ASKED.messages), None)


@pytest.mark.parametrize(
    ("template", "own", "question", "text"),
    [
        # Without a system text of the model, the task's is all of the system turn.
        (QWEN25, None, ASKED, "<system>Box.</><user>Where?</>"),
        (QWEN25, "", ASKED, "<system>Box.</><user>Where?</>"),
        (QWEN25, "Brief.", ASKED, "<system>Brief.\n\nBox.</><user>Where?</>"),
        (QWEN25, "Brief.", SPOKEN, "<system>Brief.\n\nBox.\n\nIn French.</><user>Where?</>"),
        (GEMMA, None, ASKED, "<user>Box.\n\nWhere?</>"),
        (GEMMA, "Brief.", SPOKEN, "<user>Brief.\n\nBox.\n\nIn French.\n\nWhere?</>"),
        (None, None, ASKED, "Box.\n\nWhere?\n\n"),
    ],
)
def test_a_system_text_comes_after_the_models_and_before_the_questions(
    template, own, question, text
):
    found = chat(template, own).text(placed(question, "Box."))
    assert found == text + ("<assistant>" if template else "")


def test_an_empty_system_text_replaces_the_default_and_none_keeps_it():
    assert chat(QWEN25).text(placed(ASKED, "")) == "<system></><user>Where?</><assistant>"
    assert placed(ASKED, None) == ASKED and placed(SPOKEN, "") == SPOKEN


def test_functions_stand_in_the_text_even_if_the_template_has_a_place():
    put = placed(OFFERED, None, "Use {functions} for {problem}")
    [tools] = [json.dumps(FUNCTION)]
    assert chat(QWEN3).text(put, "unused") == f"<user>Use {tools} for Where?</><assistant><no>"
    assert chat(QWEN25).text(put).endswith(f"</><user>Use {tools} for Where?</><assistant>")
    assert placed(ASKED, None, "Use {functions} for {problem}") == ASKED


def train_prompt(folder, *overrides):
    config = settings(f"data_dir={folder}", *overrides)
    return data.load(config, chat(QWEN25), chat(GEMMA)).questions[0]


def eval_prompt(folder, name, *overrides):
    config = settings(f"benchmark={name}", *overrides).benchmark[name]
    return catalog.load(name, config, str(folder)).questions[0]


def test_the_authors_wording_of_math(tmp_path):
    row = {"problem": "1+1?", "solution": "\\boxed{2}", "answer": "2"}
    for name in ("numina_math_cot.jsonl", "math500.jsonl"):
        write(tmp_path / name, [row])
    put = train_prompt(tmp_path, "task=math", "wording=authors", "task.ngram=0")
    assert chat(QWEN25).text(put) == f"<system>{BOX}</><user>1+1?</><assistant>"
    assert chat(GEMMA).text(put) == f"<user>{BOX}\n\n1+1?</><assistant>"
    asked = eval_prompt(tmp_path, "math500", "wording=authors")
    assert chat(QWEN3).text(asked) == f"<user>1+1?\n\n{STEPS}</><assistant><no>"
    # Without it, training and evaluation ask alike, and one setting changes both.
    for extra, text in (([], f"1+1?\n\n{BOX}"), (["wording.math='{problem} Now.'"], "1+1? Now.")):
        both = (
            train_prompt(tmp_path, "task=math", "task.ngram=0", *extra),
            eval_prompt(tmp_path, "math500", *extra),
        )
        assert [each.messages for each in both] == [({"role": "user", "content": text},)] * 2


def test_the_authors_wording_of_function_calls(tmp_path):
    write(tmp_path / "bfcl" / "asked.json", [{**BFCL_ASKED, "function": [SHOP]}])
    write(tmp_path / "bfcl" / "key.json", [ANSWER])
    talk = [{"from": "human", "value": "A bakery?"}]
    rows = [{"conversations": talk, "tools": json.dumps([FUNCTION])}]
    write(tmp_path / "glaive.jsonl", rows)
    files = ["benchmark.bfcl.files=[bfcl/asked.json]", "benchmark.bfcl.answers=[bfcl/key.json]"]
    asked = eval_prompt(tmp_path, "bfcl", "wording=authors", *files)
    start, _, call = chat(QWEN25).text(asked).partition("</><user>Available functions:\n")
    assert start.startswith("<system>Answer the request") and "JSON array" in start
    function, _, request = call.partition("\n\n")
    assert json.loads(function)["name"] == "shop.find"
    assert request == "User request: A bakery?</><assistant>"
    tools = ["task=tools", "task.files=[glaive.jsonl]", "task.ngram=0"]
    put = train_prompt(tmp_path, *tools, "wording=authors")
    text = f"Available functions:\n{json.dumps(FUNCTION)}\n\nUser request: A bakery?"
    assert put.messages == ({"role": "user", "content": text},) and not put.tools
    default = train_prompt(tmp_path, *tools)
    assert default.messages == ({"role": "user", "content": "A bakery?"},) and default.tools
    assert eval_prompt(tmp_path, "bfcl", *files).tools


@pytest.mark.parametrize(
    "given", [{"prompt": "Hi", "tools": [FUNCTION]}, {"instruction": "Hi", "prompt": "unread"}]
)
def test_own_prompts_and_code_take_a_system_text_and_functions(given, tmp_path):
    write(tmp_path / "my.jsonl", [given])
    own = "tools" in given
    name = "jsonl" if own else "code"
    overrides = [f"task={name}", "task.files=[my.jsonl]", "task.system=Short.", "task.ngram=0"]
    if own:
        overrides += ["task.tools_in=text", "task.wording_in_text='{functions}|{problem}'"]
    text = f"{json.dumps(FUNCTION)}|Hi" if own else "Hi"
    put = train_prompt(tmp_path, *overrides)
    assert chat(QWEN25).text(put) == f"<system>Short.</><user>{text}</><assistant>"


def test_the_lab_takes_a_system_text():
    student = chat("{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}")
    plain, other = (LabTask(3, 7, student, student, 0, system) for system in (None, "Q"))
    [bare], [found] = plain.train(0, 1), other.train(0, 1)
    added = len(found.student_ids) - len(bare.student_ids)
    assert found.text == bare.text and added == 3
    assert found.student_ids[added:] == bare.student_ids == bare.teacher_ids
    config = replace(settings().benchmark["lab"], system="Q")
    messages = catalog.load("lab", config, None, 1).questions[0].messages
    assert [turn["role"] for turn in messages] == ["system", "user"]
