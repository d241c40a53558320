"""Function calls to train on: glaive-function-calling-v2, as published and in ShareGPT form.

The prompt is the user's first turn with the functions on offer. Rows without functions stay: a
model must also learn when there is nothing to call.
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
# The arguments are JSON between single quotes, in which apostrophes are not escaped: only the
# last quote before the closing brace ends them.
QUOTED = re.compile(r"""^\{\s*"name":\s*"([^"]*)",\s*"arguments":\s*'(.*)'\s*\}$""", re.S)
ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "function_call": "call",
}  # fmt: skip


def training_question(row: Row) -> Question | None:
    """A row as it is asked; none where it has no user turn or its functions cannot be read."""
    if "chat" in row.values:
        turns = list(_turns(row.text("chat") or ""))
        functions = _objects(str(row.values.get("system") or ""))
    else:
        turns = list(_shared_turns(row.get("conversations", list)))
        functions = _listed(row.values.get("tools"))
    asked = next((i for i, (role, text) in enumerate(turns) if role == "user" and text), None)
    if asked is None or functions is None:
        return None
    reply = turns[asked + 1] if asked + 1 < len(turns) else ("", "")
    return Question(
        id=row.id,
        messages=({"role": "user", "content": turns[asked][1]},),
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


def _objects(system: str) -> list[dict[str, Any]] | None:
    """The JSON objects that stand one after another behind the system text."""
    found, start, read = [], system.find("{"), json.JSONDecoder().raw_decode
    while start >= 0:
        try:
            value, end = read(system, start)
        except (ValueError, RecursionError):
            return None
        found.append(value)
        start = system.find("{", end)
    return _bare(found)


def _listed(text: Any) -> list[dict[str, Any]] | None:
    try:
        listed = json.loads(text) if isinstance(text, str) and text.strip() else text or []
    except (ValueError, RecursionError):
        return None
    return _bare(listed) if isinstance(listed, list) else None


def _bare(functions: list[Any]) -> list[dict[str, Any]] | None:
    bare = [each for each in map(described, functions) if each is not None]
    return bare if len(bare) == len(functions) else None


def _reference(reply: tuple[str, str], functions: list[dict[str, Any]]) -> ToolReference | None:
    """The call that the assistant began with, each argument allowed the one value it had."""
    call = read_call(reply[1]) if reply[0] == "call" else None
    if call is None:
        return None
    name, arguments = call
    return ToolReference(tuple(functions), {name: {key: [arguments[key]] for key in arguments}})


def read_call(text: str) -> tuple[str, dict[str, Any]] | None:
    """Name and arguments of a call, whichever way its arguments are quoted; none if broken."""
    quoted = QUOTED.match(text.strip())
    try:
        if quoted:
            name, arguments = quoted.group(1), _loads(quoted.group(2))
        else:
            call = json.loads(text)
            name, arguments = call["name"], call.get("arguments", {})
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (name, arguments) if isinstance(name, str) and isinstance(arguments, dict) else None


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        # Some rows do escape the apostrophe, which JSON does not know.
        return json.loads(text.replace("\\'", "'"))
