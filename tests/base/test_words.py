"""Counted nouns."""

from __future__ import annotations

from esr_cli.base.words import counted


def test_one_thing_is_singular():
    said = [counted(count, "question") for count in (0, 1, 1.0, 2, 1319)]
    assert said == ["0 questions", "1 question", "1 question", "2 questions", "1,319 questions"]
