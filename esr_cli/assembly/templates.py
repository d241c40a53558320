"""Checks of chat templates: do they close an answer with a token that ends a response?"""

from __future__ import annotations

from typing import Any

from esr_cli.assembly.pairing import Pairing
from esr_cli.config import ModelConfig, PairConfig
from esr_cli.config.finding import Finding

MARK = "esr-answer-5d1c"
TURNS = [{"role": "user", "content": "x"}, {"role": "assistant", "content": MARK}]


def of_pair(pair: PairConfig, pairing: Pairing, student: Any, teacher: Any) -> list[Finding]:
    """The findings on the end of an answer in both models' templates."""
    both = (
        ("student", pair.student, student, pairing.stop_ids),
        ("teacher", pair.teacher, teacher, pairing.teacher_ends),
    )
    own = pair.stop == "student"
    return [
        ends(
            role, f"pair.{role}", model, tokenizer, stops, "pair.stop_tokens",
            own and role == "student",
        )
        for role, model, tokenizer, stops in both
    ]  # fmt: skip


def ends(
    role: str, key: str, model: ModelConfig, tokenizer: Any, stops: tuple[int, ...], remedy: str,
    own_stop: bool = False,
) -> Finding:  # fmt: skip
    """An error if the chat template closes an answer without one of the ids `stops`.

    With `own_stop` it is a warning, as `pair.stop=student` chose them. `key` is the setting that
    names the model, `remedy` the one that adds tokens to `stops`.
    """
    topic, where = f"{role}'s template", f"{key}.path" if "." in key else key
    other = f"{key}.chat_template=FILE" if "." in key else "write one into the model's folder"
    if not tokenizer.chat_template:
        text = "no chat template: the messages are concatenated"
        return Finding("warning", topic, text, f"{other}, if there is one")
    try:
        conversation = tokenizer.apply_chat_template(
            TURNS, tokenize=False, enable_thinking=model.thinking
        )
    except Exception as error:  # a template is code by the model's author
        text = f"{where}={model.path}: its chat template refuses an answer ({error})"
        return Finding("error", topic, text, f"give another: {other}")
    after = conversation.partition(MARK)[2]
    names = [str(name) for name in tokenizer.convert_ids_to_tokens(list(stops))]
    used = [name for name in names if name in after]
    if used:
        return Finding("ok", topic, f"closes an answer with {used[0]}")
    closing = repr(after.strip()[:40]) if after.strip() else "nothing"
    text = (
        f"{where}={model.path}: its chat template closes an answer with {closing}, none "
        f"of the end-of-text tokens ({', '.join(names)})"
    )
    if own_stop:
        return Finding("warning", topic, text, "a student that learns that end will not stop at it")
    return Finding("error", topic, text, f"name that token in {remedy}")


def dated(role: str, key: str, tokenizer: Any) -> list[Finding]:
    """A warning if the chat template writes today's date: prompts then differ from day to day.

    `key` is the setting that names the model.
    """
    if "strftime_now" not in str(tokenizer.chat_template):
        return []
    text = "writes today's date into every prompt: a run of another day reads other prompts"
    remedy = f"{key}.chat_template=FILE, a copy with a fixed date"
    return [Finding("warning", f"{role}'s template", text, remedy)]
