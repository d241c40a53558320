"""How a question is put to a model: the wording of its last user turn, its system turn, and whether
its functions stand in the text."""

from __future__ import annotations

from dataclasses import replace

from esr_cli.tasks import tools
from esr_cli.types import Question


def worded(question: Question, wording: str) -> Question:
    """Applies the instruction template to the last user turn."""
    turns = list(question.messages)
    last = max(place for place, turn in enumerate(turns) if turn["role"] == "user")
    text = wording.replace("{problem}", turns[last]["content"])
    turns[last] = {**turns[last], "content": text}
    return replace(question, messages=tuple(turns))


def placed(question: Question, system: str | None, functions: str = "") -> Question:
    """Adds the text of a system turn, and writes the functions into the text.

    `system` precedes the question's own system turn, separated by a blank line (None: nothing is
    added). `functions` is the template of `tools.in_text`; if empty, the functions are left to the
    chat template.
    """
    if functions and question.tools:
        question = tools.in_text(question, functions)
    if system is None:
        return question
    own = [turn["content"] for turn in question.messages[:1] if turn["role"] == "system"]
    turn = {"role": "system", "content": "\n\n".join(filter(None, [system, *own]))}
    return replace(question, messages=(turn, *question.messages[len(own) :]))
