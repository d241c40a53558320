"""Command lines with errors, and the messages before any model loads."""

from __future__ import annotations

import pytest
from conftest import INLINE, esr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+rollout_len=0"], "rollout_len=0: give a positive number"),
        (["+rollout_length=3"], "esr's name for it is rollout_len"),
        (["rollout.temprature=1"], "temprature"),
        (["rollout=vllmm"], "rollout=vllmm: no such option; there are eager, vllm"),
        (["benchmark=[lab,labb]"], "benchmark=labb: no such option; there are bfcl, gsm8k"),
        (["steps=0"], "steps=0"),
        (["steps=abc"], "steps"),
        (["task.files=x.jsonl"], "task.files=x.jsonl: takes a list, task.files=[x.jsonl]"),
        (["pair.student.path=./nowhere"], "no such folder"),
        (["resume=./nowhere"], "resume=./nowhere: no such folder"),
        # A folder name as esr creates it.
        (
            ["resume=runs/lab/rollout_len=64,seed=1"],
            "resume=runs/lab/rollout_len=64,seed=1: no such folder",
        ),
        (["+rollout_len=300"], "stay below pair.context_tokens=256"),
        (["lengths=steps", "lengths.stages=[[5,16]]"], "lengths.stages=[[5, 16]]: give [["),
        (["loss.by=[kl]"], "loss.by=kl: choose one of reverse_kl"),
        (
            ["loss=window", "loss.window_start=30", "+rollout_len=16"],
            "no response is longer than 16",
        ),
        (["pair.stop_tokens=[over]"], "pair.stop_tokens: neither model has a token 'over'"),
        (["run_dir=/proc/nowhere"], "cannot be written"),
    ],
)
def test_a_user_error_is_one_line_and_status_2(arguments, message, tmp_path):
    done = esr("train", *INLINE, *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_folder_without_a_model_and_different_tokenizers_are_errors(tiny_pair, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    done = esr("train", "rollout=eager", f"pair.student.path={empty}", cwd=tmp_path)
    assert done.returncode == 2 and "holds no model" in done.stderr
    other = tmp_path / "other"
    other.mkdir()
    for entry in (tiny_pair / "teacher").iterdir():
        text = entry.read_bytes()
        if entry.name == "tokenizer.json":
            for letter in b"abcdefghijkl":
                text = text.replace(b'"%c": ' % letter, b'"%c": ' % (letter - 32))
        (other / entry.name).write_bytes(text)
    done = esr("train", "rollout=eager", f"pair.teacher.path={other}", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "pair.alignment=auto: the tokenizers differ (89%" in done.stderr, done.stderr
    assert "first without a match: 'a'" in done.stderr and done.stderr.count("\n") == 1


def test_help_lists_the_commands_and_a_misspelt_command_gets_a_suggestion():
    assert "train" in esr("--help").stdout
    done = esr("trian")
    assert done.returncode == 2 and "did you mean train?" in done.stderr
