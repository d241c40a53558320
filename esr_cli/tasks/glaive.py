"""Function-calling questions for training: glaive-function-calling-v2, raw or in ShareGPT format.

The prompt is the user's first turn with the offered functions. Rows without functions are kept: a
model must also learn when not to call one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from esr_cli.tasks.rows import Row
from esr_cli.tasks.tools import described, offered
from esr_cli.types import Question, ToolReference

TURN = re.compile(r"^[ \t]*(USER|ASSISTANT|FUNCTION RESPONSE):", re.M)
CALL = re.compile(r"<functioncall>\s*(\{.*?\})\s*(?:<\|endoftext\|>|\Z)", re.S)
# The arguments are JSON in single quotes with unescaped apostrophes, so the last quote before the
# closing brace ends them.
QUOTED = re.compile(r"""^\{\s*"name":\s*"([^"]*)",\s*"arguments":\s*'(.*)'\s*\}$""", re.S)
ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "function_call": "call",
}  # fmt: skip


def training_question(row: Row) -> Question | None:
    """Returns the question, or None without a user turn or with unreadable functions."""
    if "chat" in row.values:
        turns = list(_turns(row.text("chat") or ""))
        functions = _parse_objects(str(row.values.get("system") or ""))
    else:
        turns = list(_shared_turns(row.get("conversations", list)))
        functions = _parse_list(row.values.get("tools"))
    first = next((i for i, (role, text) in enumerate(turns) if role == "user" and text), None)
    if first is None or functions is None:
        return None
    reply = turns[first + 1] if first + 1 < len(turns) else ("", "")
    return Question(
        id=row.id,
        messages=({"role": "user", "content": turns[first][1]},),
        reference=_reference(reply, functions),
        tools=tuple(offered(function) for function in functions),
    )


def _turns(chat: str) -> Iterator[tuple[str, str]]:
    parts = TURN.split(chat)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        call = CALL.search(text) if name == "ASSISTANT" else None
        if call:
            yield "call", call.group(1)
        else:
            yield name.lower(), text.replace("<|endoftext|>", "").strip()


def _shared_turns(conversations: list[Any]) -> Iterator[tuple[str, str]]:
    for turn in conversations:
        if isinstance(turn, dict):
            role, text = str(turn.get("from")), turn.get("value") or ""
            yield (
                ROLES.get(role, role),
                (text if isinstance(text, str) else json.dumps(text)).strip(),
            )


def _parse_objects(system: str) -> list[dict[str, Any]] | None:
    """Returns the consecutive JSON objects after the system text."""
    found, start, read = [], system.find("{"), json.JSONDecoder().raw_decode
    while start >= 0:
        try:
            value, end = read(system, start)
        except (ValueError, RecursionError):
            return None
        found.append(value)
        start = system.find("{", end)
    return _descriptions(found)


def _parse_list(text: Any) -> list[dict[str, Any]] | None:
    try:
        listed = json.loads(text) if isinstance(text, str) and text.strip() else text or []
    except (ValueError, RecursionError):
        return None
    return _descriptions(listed) if isinstance(listed, list) else None


def _descriptions(functions: list[Any]) -> list[dict[str, Any]] | None:
    bare = [each for each in map(described, functions) if each is not None]
    return bare if len(bare) == len(functions) else None


def _reference(reply: tuple[str, str], functions: list[dict[str, Any]]) -> ToolReference | None:
    """Returns the assistant's first call; each argument allows only its value in that call."""
    call = read_call(reply[1]) if reply[0] == "call" else None
    if call is None:
        return None
    name, arguments = call
    return ToolReference(tuple(functions), {name: {key: [arguments[key]] for key in arguments}})


def read_call(text: str) -> tuple[str, dict[str, Any]] | None:
    """Returns name and arguments of a call in any quoting style, or None if malformed."""
    quoted = QUOTED.match(text.strip())
    try:
        if quoted:
            name, arguments = quoted.group(1), _parse_json(quoted.group(2))
        else:
            call = json.loads(text)
            name, arguments = call["name"], call.get("arguments", {})
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (name, arguments) if isinstance(name, str) and isinstance(arguments, dict) else None


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        # Some rows escape the apostrophe, which is invalid JSON.
        return json.loads(text.replace("\\'", "'"))
