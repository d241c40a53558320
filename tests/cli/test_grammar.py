"""What Hydra's grammar cannot read is quoted, so that people type texts as they are."""

from __future__ import annotations

import sys

import pytest
from conftest import esr
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from esr_cli.cli import composing, spelling
from esr_cli.config import ConfigError

READ = {
    "task.files=[Bücher.jsonl, a.jsonl]": ["Bücher.jsonl", "a.jsonl"],
    "overrides=[steps=3,benchmark=[a,b]]": ["steps=3", "benchmark=[a,b]"],
    "overrides=[[steps=3,seed=1],[lr=2]]": [["steps=3", "seed=1"], ["lr=2"]],
    "tracking.tags=['a,b',c=d]": ["a,b", "c=d"],
    "shape={name:Grüße,n:3}": {"name": "Grüße", "n": 3},
    "run_dir=runs/a (copy)": "runs/a (copy)",
    "run_dir=R&D/ü=1": "R&D/ü=1",
    "resume=runs/lab/rollout_len=64,seed=1": "runs/lab/rollout_len=64,seed=1",
    "title=N=64: yes, no": "N=64: yes, no",
    "name=don't": "name=don't",
    "x=${pair.name}": "${pair.name}",
    "steps=5": 5,
    "x=": "",
}
TEXT = st.text(st.sampled_from("aü5=~.,:/ '\"[]{}()$&;\\\n"), max_size=12)


@pytest.mark.parametrize("argument", READ)
def test_a_text_is_read_as_it_was_typed(argument):
    quoted = spelling.quoted(spelling.spaced(argument))
    if argument == "name=don't":  # a lone quote is for the user to mend
        assert quoted == argument
        return
    assert OverridesParser.create().parse_override(quoted).value() == READ[argument], quoted
    assert spelling.quoted(quoted) == quoted


def test_several_values_of_a_sweep_are_quoted_one_by_one():
    sweep = OverridesParser.create().parse_override(spelling.quoted("run_dir=runs/ü,runs/b"))
    assert list(sweep.sweep_string_iterator()) == ["'runs/ü'", "runs/b"]
    sweep = OverridesParser.create().parse_override(spelling.quoted("tags=[ü],[b=1]"))
    assert list(sweep.sweep_string_iterator()) == ["['ü']", "['b=1']"]


def test_functions_of_a_sweep_keep_the_names_of_their_arguments():
    for value in ("range(1,9,step=2)", "choice('ü',b)", "shuffle(1,2,3)", "sort(2,1,reverse=true)"):
        assert spelling.quoted(f"seed={value}") == f"seed={value}"
    assert spelling.quoted("x=choice(ü,b)") == "x=choice('ü',b)"


def test_spaces_around_the_sign_and_the_home_folder_are_understood(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ü")
    assert spelling.spaced(" steps = 5 ") == "steps=5"
    assert spelling.quoted("run_dir=~/runs") == "run_dir='/home/ü/runs'"
    assert spelling.spaced("~tune") == "~tune"


def test_flags_may_stand_anywhere():
    typed = ["seed=0,1", "--cfg", "job", "-m", "steps=3", "~tune"]
    assert spelling.flags_first(typed) == ["--cfg", "job", "-m", "seed=0,1", "steps=3", "~tune"]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["run_dir", "steps", "task.files", "loss", "title", ""]), TEXT)
def test_no_value_breaks_the_command_line_otherwise_than_with_one_line(key, value):
    before = sys.argv
    try:
        composing.settings("train", [f"{key}={value}"])
    except ConfigError as error:
        assert str(error), (key, value)
    assert sys.argv is before


def test_a_sweep_may_be_asked_for_at_the_end(tmp_path):
    done = esr("compare", "a=x,y", "b=z", "-m", cwd=tmp_path)
    assert "2 runs" in done.stdout and "no such folder" in done.stdout, done.stdout + done.stderr
