"""Function calls written as JSON objects, in the words of the common interfaces.

The name stands under `name`, or `function`, `tool`, …; the arguments under `arguments`, or
`parameters`, `args`, `input`, …, as an object or its JSON string. A call may lie within
`{"function": {…}}` or `{"tool_calls": [{…}]}` (OpenAI), and `{"f": {…}}` is a call of f.
"""

from __future__ import annotations

from typing import Any

from esr_cli.graders.call_types import Call, CallError, decode, validated

NAMES = ("name", "function", "tool", "tool_name", "function_name", "recipient_name", "action")
ARGUMENTS = (
    "arguments", "parameters", "args", "input", "params", "kwargs", "tool_input", "action_input",
)  # fmt: skip
# Objects and lists that hold calls.
HOLDERS = ("function", "function_call", "tool_call", "tool_calls", "tool_uses")


def json_calls(text: str) -> list[Call]:
    """Parses consecutive objects or lists of objects; some models separate them by `;` or `,`."""
    calls, position = [], 0
    while position < len(text):
        value, position = decode(text, position)
        calls += calls_of(value)
        while position < len(text) and text[position] in " \t\r\n,;":
            position += 1
    return calls


def calls_of(value: Any) -> list[Call]:
    """The calls of a decoded object, or of a list of objects."""
    if isinstance(value, list):
        return [call for item in value if not _is_text(item) for call in _in_object(item)]
    return _in_object(value)


def _is_text(item: Any) -> bool:
    """Whether this is a part of Anthropic's reply that calls nothing."""
    return (
        isinstance(item, dict) and item.get("type") in ("text", "thinking") and "name" not in item
    )


def _in_object(value: Any) -> list[Call]:
    if not isinstance(value, dict):
        raise CallError("JSON without a name")
    held = [value[key] for key in HOLDERS if isinstance(value.get(key), dict | list)]
    if len(held) == 1 and not any(key in value for key in ("name", *ARGUMENTS)):
        items = held[0] if isinstance(held[0], list) else [held[0]]
        # One level deeper only: nothing nests its holders further than OpenAI's reply.
        return [_call(_function_of(item)) for item in items]
    if len(value) == 1 and not {*NAMES, *ARGUMENTS} & value.keys():
        [(name, arguments)] = value.items()
        if isinstance(arguments, dict):
            return [Call(name, validated(arguments))]
    return [_call(value)]


def _function_of(item: Any) -> Any:
    inner = item.get("function") if isinstance(item, dict) else None
    return inner if isinstance(inner, dict) else item


def _call(value: Any) -> Call:
    if not isinstance(value, dict):
        raise CallError("JSON without a name")
    names = [value[key] for key in NAMES if isinstance(value.get(key), str)]
    if len(names) != 1:
        raise CallError("named twice" if names else "JSON without a name")
    given = [value[key] for key in ARGUMENTS if key in value]
    if len(given) != 1:
        raise CallError("JSON without arguments" if not given else "arguments given twice")
    return Call(names[0], object_of(given[0]))


def object_of(arguments: Any) -> dict[str, Any]:
    """The arguments as an object; its JSON string is decoded."""
    if isinstance(arguments, str):
        text = arguments.strip()
        arguments, end = decode(text)
        if end < len(text):
            raise CallError("malformed JSON")
    if not isinstance(arguments, dict):
        raise CallError("arguments are no object")
    checked: dict[str, Any] = validated(arguments)
    return checked
