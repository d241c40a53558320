"""Files of responses from other engines: read, or refused with file and line."""

from __future__ import annotations

import json

import pytest

from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.responses import for_benchmark
from esr_cli.config import BenchmarkConfig, ConfigError
from esr_cli.types import Question

BENCHMARK = Benchmark("lab", BenchmarkConfig(pass_at=[]), [Question("q0", (), "1")])


def read(path, row):
    path.write_text(json.dumps({"id": "q0", "responses": ["a b", "c"], **row}) + "\n")
    return for_benchmark(path, BENCHMARK, alone=True).responses["q0"]


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("stop", "stop"), ("eos_token", "stop"), ("end_turn", "stop"), ("stop_sequence", "stop"),
        ("tool_calls", "stop"), ("STOP", "stop"), ("FinishReason.MAX_TOKENS", "length"),
        ("length", "length"), ("max_tokens", "length"), ("content_filter", "other"), (None, None),
    ],
)  # fmt: skip
def test_the_words_of_other_engines_are_known(tmp_path, word, meaning):
    both = read(tmp_path / "a.jsonl", {"finish": [word, "length"]})
    assert [each.finish for each in both] == [meaning, "length"]


@pytest.mark.parametrize(
    ("tokens", "counts"),
    [([3, 4.0], [3, 4]), (["3", None], [3, None]), ([["a", " b"], [7]], [2, 1])],
)
def test_tokens_may_be_counts_digits_or_the_tokens(tmp_path, tokens, counts):
    assert [each.tokens for each in read(tmp_path / "a.jsonl", {"tokens": tokens})] == counts


def test_a_row_of_one_response_needs_no_lists(tmp_path):
    [only] = read(tmp_path / "a.jsonl", {"responses": ["a"], "tokens": 5, "finish": "stop"})
    assert (only.tokens, only.finish) == (5, "stop")


def test_a_lone_surrogate_is_replaced(tmp_path):
    first, _ = read(tmp_path / "a.jsonl", {"responses": ["\ud800", "b"]})
    assert first.text == "\ufffd"


@pytest.mark.parametrize(
    "row",
    [
        {"finish": ["done!", "stop"]}, {"finish": "stop"}, {"finish": [1, 2]}, {"finish": {}},
        {"finish": ["stop"]}, {"tokens": [True, 1]}, {"tokens": [-1, 1]}, {"tokens": ["a", "b"]},
        {"tokens": [float("nan"), 1]}, {"tokens": [float("inf"), 1]}, {"tokens": [1.5, 1]},
        {"tokens": [10**400, 1]}, {"tokens": "12"}, {"tokens": {}}, {"responses": None},
        {"responses": [None, "a"]}, {"responses": "ab"}, {"responses": []}, {"step": "1"},
        {"step": True}, {"step": float("nan")}, {"id": None}, {"id": True}, {"id": []},
        {"benchmark": 3}, {"benchmark": ["lab"]},
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_refused_with_its_line(tmp_path, row):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "a.jsonl", row)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'a.jsonl'}:1: ") and "\n" not in message, message
