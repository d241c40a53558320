"""Misspelt command lines: the error is one line with the argument and the remedy."""

from __future__ import annotations

import pytest
from conftest import esr


@pytest.mark.parametrize(("typed", "message"), [
    (["train", "loss.keep_token=3"], "loss.keep_token=3: no such setting; did you mean "),
    (["train", "+loss.keep_token=3"], "did you mean loss.keep_tokens?"),
    (["train", "los=top_reverse_kl"], "los=top_reverse_kl: no such setting; did you mean loss?"),
    (["train", "-m", "step=3,4"], "step=3: no such setting; did you mean steps?"),
    (["train", "benchmark.lab.sample=3"], "did you mean benchmark.lab.samples?"),
    (["train", "pair=qwen3_1p7b_qwen3_4b"], "; did you mean pair=qwen3_1p7b__qwen3_4b?"),
    (["report", "run=here"], "run=here: no such setting; did you mean runs?"),
    (["probe", "prob=decay"], "prob=decay: no such setting; did you mean probe?"),
    (["reproduce", "quik=true"], "quik=true: no such setting; did you mean quick?"),
    (["reprduce"], "reprduce: no such command; did you mean reproduce?"),
])  # fmt: skip
def test_a_misspelt_word_gets_the_closest_suggestion(typed, message, tmp_path):
    done = esr(*typed, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_an_option_that_is_not_a_name_is_a_one_line_error(tmp_path):
    done = esr("train", "loss=3", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "loss=3: no such option; there are confident, " in done.stderr


def test_a_single_length_of_a_bench_needs_no_brackets(tmp_path):
    for given, message in (
        ("lengths=0", "lengths=0: give a positive"),
        ("lengths=9999", "lengths=9999: stay"),
    ):
        done = esr("bench", given, cwd=tmp_path)
        assert done.returncode == 2 and message in done.stderr, done.stderr
