"""Prompts of the user's own: `prompt`, or `messages`, a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from esr_cli.config import ConfigError
from esr_cli.tasks.rows import Row
from esr_cli.tasks.tools import described, offered
from esr_cli.types import Question

ROLES = ("system", "user", "assistant", "tool")


def training_question(row: Row) -> Question:
    """A row with `prompt` (a text) or `messages` (turns of `role` and `content`).

    `id`, `reference` and `tools` (functions as JSON schemas) may stand beside it; other fields are
    not read. Raises `ConfigError` with file and line where the row cannot be asked.
    """
    if "id" in row.values and not isinstance(row.values["id"], str | int):
        raise ConfigError(f"{row.where}: field 'id' must be a text or a whole number; or drop it")
    return Question(
        id=row.id,
        messages=_messages(row),
        reference=row.values.get("reference"),
        tools=tuple(_function(row, each) for each in _list(row, "tools")),
    )


def _messages(row: Row) -> tuple[Mapping[str, str], ...]:
    if "messages" not in row.values:
        if "prompt" not in row.values:
            raise ConfigError(f"{row.where}: neither 'prompt' nor 'messages'; give one of them")
        return ({"role": "user", "content": row.get("prompt", str)},)
    if "prompt" in row.values:
        raise ConfigError(f"{row.where}: both 'prompt' and 'messages'; give one of them")
    turns = tuple(_turn(row, each) for each in row.get("messages", list))
    if not any(turn["role"] == "user" for turn in turns):
        raise ConfigError(f"{row.where}: field 'messages' has no turn of the user; add it")
    if turns[-1]["role"] not in ("user", "tool"):
        raise ConfigError(
            f"{row.where}: field 'messages' ends with a turn of {turns[-1]['role']}, so nothing is "
            "left to answer; leave that turn out"
        )
    return turns


def _turn(row: Row, turn: Any) -> Mapping[str, str]:
    fits = isinstance(turn, dict) and turn.keys() == {"role", "content"}
    if not fits or turn["role"] not in ROLES or not isinstance(turn["content"], str):
        raise ConfigError(
            f"{row.where}: field 'messages' has a turn that is not "
            f"{{role: one of {', '.join(ROLES)}, content: text}}; mend it"
        )
    return turn


def _function(row: Row, tool: Any) -> Mapping[str, Any]:
    function = described(tool)
    if function is None:
        raise ConfigError(f"{row.where}: field 'tools' has an entry without a name; mend it")
    return offered(function)


def _list(row: Row, field: str) -> list[Any]:
    return row.get(field, list) if row.values.get(field) is not None else []
