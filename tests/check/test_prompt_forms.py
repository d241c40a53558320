"""`esr check` on the prompts: one line for each form, and evaluation prompts that differ."""

from __future__ import annotations

import json

import pytest
from conftest import esr, read

from esr_cli.check.prompts import differing, forms
from esr_cli.config import TrainConfig


def settings(*overrides) -> TrainConfig:
    return read("+rollout_len=7", *overrides)


BFCL = "bfcl: chat, functions in the template"
MATH = "chat, wording in the user turn"


@pytest.mark.parametrize(
    ("overrides", "text", "other"),
    [
        (["task=math", "benchmark=math500"], f"task math: {MATH}; math500: {MATH}", []),
        (["task=math", "benchmark=math500", "wording=authors", "benchmark.math500.box=first"],
         f"task math: chat, system turn; math500: {MATH}, first box", ["math500"]),
        (["task=tools", "benchmark=[bfcl]"], f"task tools: chat, functions in the template; {BFCL}",
         []),
        (["task=tools", "benchmark=[bfcl]", "wording=authors"],
         "task tools: chat, functions in the text; bfcl: chat, system turn, functions in the text",
         ["bfcl"]),
        (["task=code", "benchmark=[humaneval,mbpp_raw]"],
         f"task code: chat; humaneval: {MATH}; mbpp_raw: raw, cut at 5 stop texts",
         ["humaneval", "mbpp_raw"]),
        (["task=math", "benchmark=math500", "task.system=Brief."],
         f"task math: chat, system turn, wording in the user turn; math500: {MATH}", ["math500"]),
    ],
)  # fmt: skip
def test_the_line_on_prompts(overrides, text, other):
    config = settings(*overrides)
    note = f"; other wording in evaluation than in training: {', '.join(other)}" if other else ""
    assert forms(config).text == text + note and differing(config) == other


def test_an_evaluation_prompt_that_differs_is_printed(tmp_path):
    """Both models render the system turn of the task, and the benchmark asks without it."""
    (tmp_path / "my.jsonl").write_text(
        "".join(json.dumps({"prompt": f"find {x} ?"}) + "\n" for x in "abcd")
    )
    template = "{% for m in messages %}<bos> {{ m.content }} <eos> {% endfor %}"
    (tmp_path / "turns.jinja").write_text(template)
    own = [f"pair.{role}.chat_template=turns.jinja" for role in ("student", "teacher")]
    done = esr(
        "check", "rollout=eager", "+rollout_len=8", "prompts_per_step=4", "task=jsonl",
        "task.files=[my.jsonl]", "task.ngram=0", "task.system='plan : careful'", *own, cwd=tmp_path,
    )  # fmt: skip
    out = " ".join(done.stdout.split())
    assert "prompts task jsonl: chat, system turn; lab: chat; other wording" in out, out
    for role in ("student", "teacher"):
        assert f"first prompt as the {role} reads it <bos> plan : careful <eos> <bos> find" in out
    assert "the first prompt of lab as the student reads it <bos> Q : start" in out
