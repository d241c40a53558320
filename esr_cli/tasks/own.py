"""Custom training prompts: each row holds `prompt` or `messages`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from esr_cli.config import ConfigError
from esr_cli.tasks.rows import Row
from esr_cli.tasks.tools import described, offered
from esr_cli.types import Question

ROLES = ("system", "user", "assistant", "tool")


def training_question(row: Row) -> Question:
    """Returns the question of a row with `prompt` (a string) or `messages` (`role`, `content`).

    `id`, `reference` and `tools` (functions as JSON schemas) are optional; other fields are
    ignored. Raises `ConfigError` with file and line if the row is invalid.
    """
    own = row.values.get("id", "")
    if not isinstance(own, str | int) or type(own) is bool:
        raise ConfigError(f"{row.where}: field 'id' must be a string or an integer; or drop it")
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
            "left to answer; remove that turn"
        )
    return turns


def _turn(row: Row, turn: Any) -> Mapping[str, str]:
    fits = isinstance(turn, dict) and turn.keys() == {"role", "content"}
    if not fits or turn["role"] not in ROLES or not isinstance(turn["content"], str):
        raise ConfigError(
            f"{row.where}: field 'messages' has a turn that is not "
            f"{{role: one of {', '.join(ROLES)}, content: text}}; fix it"
        )
    return turn


def _function(row: Row, tool: Any) -> Mapping[str, Any]:
    function = described(tool)
    if function is None:
        raise ConfigError(f"{row.where}: field 'tools' has an entry without a name; fix it")
    return offered(function)


def _list(row: Row, field: str) -> list[Any]:
    return row.get(field, list) if row.values.get(field) is not None else []
