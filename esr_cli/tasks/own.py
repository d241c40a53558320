"""Custom training prompts, as files for TRL, OpenAI's fine-tuning and ShareGPT hold them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from esr_cli.base import reading
from esr_cli.config import ConfigError
from esr_cli.tasks.rows import Row
from esr_cli.tasks.tools import described, offered
from esr_cli.types import Question

# The fields that may hold the prompt; the first that a row has counts.
PROMPTS = ("prompt", "messages", "conversations")
# Roles by their spellings in published data.
ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant",
    "chatgpt": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "ipython": "tool",
}  # fmt: skip
# Fields of a turn besides its role and text that chat templates read.
KEPT = ("name", "tool_calls", "tool_call_id")
TEXTS = ("content", "value", "text")
READ = ("role", "from", *TEXTS, *KEPT)
MEDIA = ("image", "images", "video", "videos", "audio", "audios")
# Names of counts: answers at the end that are dropped, and rows with a field that is ignored.
DROPPED, IGNORED = "answers dropped", "ignored "


def training_question(row: Row, counts: Counter[str]) -> Question:
    """Returns the question of a row with `prompt`, `messages` or `conversations`.

    Each is a list of turns; `prompt` may be a text. Answers at the end are dropped, and `tools`
    (functions as JSON schemas), `reference` and `id` are optional; `counts` has both the dropped
    answers and the fields that are ignored. Raises `ConfigError` with file and line if the row is
    invalid.
    """
    own = row.values.get("id")
    if own is not None and (not isinstance(own, str | int) or type(own) is bool):
        raise ConfigError(f"{row.where}: field 'id' must be a string or an integer; or drop it")
    for name in MEDIA:
        if row.values.get(name):
            raise ConfigError(
                f"{row.where}: field {name!r}: models read text alone here; drop the row, or the "
                "field if the text says it all"
            )
    field = next((name for name in PROMPTS if row.values.get(name) is not None), None)
    if field is None:
        has = ", ".join(map(str, row.values)) or "nothing"
        raise ConfigError(f"{row.where}: none of {', '.join(PROMPTS)}; it has {has}: rename one")
    known = (field, "id", "reference", "tools")
    counts.update(
        f"{IGNORED}{name}"
        for name, value in row.values.items() if name not in known and value is not None
    )  # fmt: skip
    return Question(
        id=row.id,
        messages=_messages(row, field, counts),
        reference=row.values.get("reference"),
        tools=tuple(_function(row, each) for each in _tools(row)),
    )


def _messages(row: Row, field: str, counts: Counter[str]) -> tuple[Mapping[str, Any], ...]:
    if field == "prompt" and isinstance(row.values[field], str):
        return ({"role": "user", "content": row.get(field, str)},)
    turns = _turns(row, field)
    roles = [_role(row, field, each) for each in turns]
    count = len(turns)
    while count and roles[count - 1] == "assistant":
        count -= 1
    counts[DROPPED] += count < len(turns)
    if "user" not in roles[:count]:
        raise ConfigError(f"{row.where}: field {field!r} has no turn of the user; add it")
    if roles[count - 1] == "system":
        raise ConfigError(
            f"{row.where}: field {field!r} ends with a turn of the system, so nothing is left to "
            "answer; remove that turn"
        )
    more = {key for turn in turns[:count] for key, value in turn.items()
            if key not in READ and value is not None}  # fmt: skip
    counts.update(f"{IGNORED}{field}.{key}" for key in more)
    pairs = zip(roles, turns[:count], strict=False)
    return tuple(_turn(row, field, role, turn) for role, turn in pairs)


def _turns(row: Row, field: str) -> list[Any]:
    value = row.values[field]
    # Some versions of `datasets` give a list of turns as lists of roles and texts.
    if isinstance(value, dict) and all(isinstance(each, list) for each in value.values()):
        columns = list(value.values())
        if len({len(each) for each in columns}) == 1:
            return [dict(zip(value, each, strict=True)) for each in zip(*columns, strict=True)]
    return row.get(field, list)


def _role(row: Row, field: str, turn: Any) -> str:
    named = turn.get("role") or turn.get("from") if isinstance(turn, dict) else None
    role = ROLES.get(named.lower()) if isinstance(named, str) else None
    if role is None:
        raise ConfigError(
            f"{row.where}: field {field!r} has a turn that is not {{role: one of "
            f"{', '.join(dict.fromkeys(ROLES.values()))}, content: text}}; fix it"
        )
    return role


def _turn(row: Row, field: str, role: str, turn: Mapping[str, Any]) -> Mapping[str, Any]:
    kept = {key: turn[key] for key in KEPT if turn.get(key)}
    if "tool_calls" in kept:
        kept["tool_calls"] = [_call(row, field, each) for each in _calls(row, field, turn)]
    content = next((turn[key] for key in TEXTS if turn.get(key) is not None), None)
    if content is None and "tool_calls" in kept:
        content = ""
    return {"role": role, "content": _text(row, field, content), **kept}


def _text(row: Row, field: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = [each for each in _list(content) if isinstance(each, dict)]
    texts = [each["text"] for each in parts if isinstance(each.get("text"), str)]
    other = next((each for each in parts if not isinstance(each.get("text"), str)), None)
    if other is not None:
        kind = str(other.get("type"))
        raise ConfigError(
            f"{row.where}: field {field!r} has a part of type {kind:.40}; models read text alone "
            "here; drop the row, or the part if the text says it all"
        )
    if not texts or len(texts) < len(_list(content)):
        raise ConfigError(f"{row.where}: field {field!r} has a turn without a text; drop the row")
    return "\n".join(texts)


def _calls(row: Row, field: str, turn: Mapping[str, Any]) -> list[Any]:
    calls = turn["tool_calls"]
    if isinstance(calls, str):  # a column of JSON
        with suppress(reading.BrokenError):
            calls = reading.parse(calls)
    if not isinstance(calls, list):
        raise ConfigError(f"{row.where}: field {field!r} has tool_calls that are no list; fix it")
    return calls


def _call(row: Row, field: str, call: Any) -> Mapping[str, Any]:
    """A call of a function, with its arguments as an object: templates write JSON themselves."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ConfigError(f"{row.where}: field {field!r} has a call without a name; fix it")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with suppress(reading.BrokenError):  # else as the model wrote it
            arguments = reading.parse(arguments or "{}")
    made = {"name": function["name"], "arguments": {} if arguments is None else arguments}
    named = {"id": call["id"]} if call.get("id") else {}
    return {**named, "type": "function", "function": made}


def _tools(row: Row) -> list[Any]:
    listed = row.values.get("tools")
    if isinstance(listed, str):
        # A column of JSON, as tables need one type for all rows.
        try:
            listed = reading.parse(listed or "[]")
        except reading.BrokenError:
            listed = None
        if not isinstance(listed, list):
            raise ConfigError(f"{row.where}: field 'tools' holds no JSON list; fix it")
        return listed
    return row.get("tools", list) if listed is not None else []


def _function(row: Row, tool: Any) -> Mapping[str, Any]:
    function = described(tool)
    if function is None:
        raise ConfigError(f"{row.where}: field 'tools' has an entry without a name; fix it")
    return offered(function)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
