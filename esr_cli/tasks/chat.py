"""Questions through a model's chat template, as token ids."""

from __future__ import annotations

from typing import Any

from esr_cli.types import Prompt, Question


def prompt(question: Question, student_tokenizer: Any, teacher_tokenizer: Any) -> Prompt:
    """The same messages as student and teacher read them."""
    return Prompt(
        id=question.id,
        text=question.messages[-1]["content"],
        student_ids=encode(question, student_tokenizer),
        teacher_ids=encode(question, teacher_tokenizer),
    )


def encode(question: Question, tokenizer: Any) -> tuple[int, ...]:
    """Token ids up to where the response begins; thinking is off where a template can think.

    Without a chat template the contents stand one after the other, a blank line after each.
    """
    if not tokenizer.chat_template:
        text = "".join(f"{turn['content']}\n\n" for turn in question.messages)
        return tuple(tokenizer(text).input_ids)
    return tuple(
        tokenizer.apply_chat_template(
            [dict(turn) for turn in question.messages],
            tools=[dict(tool) for tool in question.tools] or None,
            add_generation_prompt=True, enable_thinking=False, return_dict=False,
        )
    )  # fmt: skip


def shows_tools(tokenizer: Any) -> bool:
    """Whether the chat template has a place for functions."""
    return "tools" in (tokenizer.chat_template or "")
