"""A response as graders and records read it: what the model wrote, without its end."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.exam import Exam, judge
from esr_cli.config import BenchmarkConfig
from esr_cli.graders import tools as tools_grader
from esr_cli.graders.plain import PlainGrader
from esr_cli.lab.byte_tokenizer import bytes_tokenizer
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.types import Prompt, Question, Rollout, Sampling, ToolReference

MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<turn_end>"]
CALL = '<think>\nNo "f(x=2)".</think>\n<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n'
FUNCTION = {"name": "f", "parameters": {"type": "dict", "properties": {"x": {"type": "integer"}}}}


def exam(tokenizer, stop_ids=()):
    reference = ToolReference((FUNCTION,), {"f": {"x": [1]}})
    question = Question("q", ({"role": "user", "content": "Call f."},), reference)
    benchmark = Benchmark("tools", BenchmarkConfig(), [question])
    return Exam(benchmark, [], Sampling(99, stop_ids=stop_ids), tokenizer)


def marked() -> PreTrainedTokenizerFast:
    tokenizer = bytes_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": MARKS})
    return tokenizer


def rollout(ids):
    return Rollout(Prompt("q", "", (), ()), 0, tuple(ids), (0.0,) * len(ids), "stop")


@pytest.mark.parametrize("ends", [["<eos>"], ["<turn_end>"], ["<turn_end>", "<eos>", "<pad>"], []])
def test_calls_and_thoughts_marked_by_special_tokens_reach_the_grader(ends):
    tokenizer, written = marked(), f"{CALL}</tool_call>"
    asked = exam(tokenizer, (tokenizer.convert_tokens_to_ids("<turn_end>"),))
    ids = tokenizer(written, add_special_tokens=False).input_ids
    response = asked.response_of(rollout([*ids, *tokenizer.convert_tokens_to_ids(ends)]))
    assert response.text == written and response.tokens == len(ids) + len(ends)
    done = judge(asked.benchmark, PlainGrader(tools_grader.grade), {"q": [response]}, 0)
    assert done.generations[0]["correct"] == [True]
    assert done.generations[0]["responses"] == [written], "records hold what was graded"


def test_only_the_end_of_a_response_is_cut():
    tokenizer = marked()
    ids = tokenizer("<eos> a<sep> b<pad><eos>", add_special_tokens=False).input_ids
    assert exam(tokenizer).response_of(rollout(ids)).text == "<eos> a<sep> b"
    assert exam(tokenizer).response_of(rollout([tokenizer.eos_token_id])).text == ""


def test_blanks_of_a_response_are_kept():
    """Some tokenizers are saved with a switch that drops the blank before a mark."""
    tokenizer = lab_tokenizer()
    tokenizer.clean_up_tokenization_spaces = True
    ids = tokenizer("find a ? plan . so , no", add_special_tokens=False).input_ids
    assert exam(tokenizer).response_of(rollout(ids)).text.startswith("find a ? plan . so ,")
