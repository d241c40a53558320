"""Parses the function calls of an untrusted response without evaluating any of it.

Text up to the last `</think>` is ignored. Accepted forms: JSON in `<tool_call>…</tool_call>`, with
prose around it; otherwise the entire response, bare or fenced, as JSON objects (`name`, and
`arguments` or `parameters`, an object or its JSON string) or as Python calls with keyword
arguments, `[f(x=1)]`. As in BFCL, a missing outer bracket is added and a bare name is read as a
string (`f(x=total)`). Any other expression that is not a literal is refused.

The time is linear in the length: the parser accepts at most `MAX_CHARS` characters and `MAX_DEPTH`
levels of nesting. A number must be finite as a float.
"""

from __future__ import annotations

import ast
import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_CHARS = 20_000
MAX_DEPTH = 32
OPEN, CLOSE = "<tool_call>", "</tool_call>"


class CallError(ValueError):
    """The text is not a function call; the message is a short reason."""


@dataclass(frozen=True)
class Call:
    """One function call; a Python tuple in `arguments` stays a tuple."""

    name: str
    arguments: Mapping[str, Any]


def read_calls(response: str) -> list[Call]:
    """Returns all calls; raises CallError if there is none or any part is unreadable."""
    payloads = _payloads(response.rpartition("</think>")[2])
    if sum(map(len, payloads)) > MAX_CHARS:
        raise CallError("too long")
    try:
        calls = [call for payload in payloads for call in _calls(_unfenced(payload))]
    except (RecursionError, MemoryError):
        # Python's JSON and AST parsers raise these on deeply nested text.
        raise CallError("nested too deep") from None
    if not calls:
        raise CallError("no call")
    return calls


def canonical(name: str, arguments: Mapping[str, Any]) -> str:
    """Returns the same string for equal calls: the name, then the arguments as sorted JSON."""
    return f"{name} {json.dumps(_with_tuples_tagged(arguments), sort_keys=True)}"


def _with_tuples_tagged(value: Any) -> Any:
    """Marks tuples, because BFCL distinguishes a tuple from a list."""
    if isinstance(value, Mapping):
        return {key: _with_tuples_tagged(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_with_tuples_tagged(item) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    return value


def _payloads(text: str) -> list[str]:
    if OPEN not in text:
        return [text]
    # Split, because a lazy regular expression is quadratic in the number of unclosed tags.
    parts = [part.partition(CLOSE) for part in text.split(OPEN)[1:]]
    if not all(close for _, close, _ in parts):
        raise CallError(f"unclosed {OPEN}")
    return [body for body, _, _ in parts]


def _unfenced(text: str) -> str:
    text = text.strip()
    if text.startswith("```"):
        language, newline, rest = text[3:].partition("\n")
        if newline and language.strip().isidentifier():
            text = rest
    return text.strip("` \t\r\n")


def _calls(text: str) -> list[Call]:
    if not text:
        raise CallError("no call")
    if text.startswith("{") or (text.startswith("[") and text[1:].lstrip().startswith("{")):
        return _json_calls(text)
    return _python_calls(text)


def _dict_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise CallError("duplicate key")
    return found


def _refuse_constant(constant: str) -> NoReturn:
    raise CallError(f"{constant} is no JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_dict_of, parse_constant=_refuse_constant)


def _decode(text: str, start: int = 0) -> tuple[Any, int]:
    """Returns the JSON value at `start` and the index of its end."""
    try:
        return DECODER.raw_decode(text, start)
    except CallError:
        raise
    except ValueError:
        raise CallError("malformed JSON") from None


def _json_calls(text: str) -> list[Call]:
    """Parses consecutive objects or lists of objects; some models separate them by `;` or `,`."""
    calls, position = [], 0
    while position < len(text):
        value, position = _decode(text, position)
        calls += [_json_call(item) for item in (value if isinstance(value, list) else [value])]
        while position < len(text) and text[position] in " \t\r\n,;":
            position += 1
    return calls


def _json_call(value: Any) -> Call:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise CallError("JSON without a name")
    given = [value[key] for key in ("arguments", "parameters") if key in value]
    if len(given) != 1:
        raise CallError("JSON without arguments" if not given else "arguments given twice")
    arguments = given[0]
    if isinstance(arguments, str):
        text = arguments.strip()
        arguments, end = _decode(text)
        if end < len(text):
            raise CallError("malformed JSON")
    if not isinstance(arguments, dict):
        raise CallError("arguments are no object")
    return Call(value["name"], _validated(arguments))


def _validated(value: Any, depth: int = 0) -> Any:
    """Returns the JSON value unchanged after checking its depth and its numbers."""
    if depth > MAX_DEPTH:
        raise CallError("nested too deep")
    if isinstance(value, dict):
        return {key: _validated(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_validated(item, depth + 1) for item in value]
    return _validated_scalar(value)


def _validated_scalar(value: Any) -> Any:
    if value is not None and not isinstance(value, str | int | float):
        raise CallError(f"{type(value).__name__} is no argument")
    try:
        finite = not isinstance(value, int | float) or math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise CallError("number out of range")
    return value


def _python_calls(text: str) -> list[Call]:
    source = ("" if text.startswith("[") else "[") + text + ("" if text.endswith("]") else "]")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError):
        raise CallError("neither JSON nor a call") from None
    if not isinstance(body, ast.List):
        raise CallError("neither JSON nor a call")
    return [_python_call(node) for node in body.elts]


def _python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call):
        raise CallError("neither JSON nor a call")
    if node.args:
        raise CallError("positional argument")
    if any(keyword.arg is None for keyword in node.keywords):
        raise CallError("starred argument")
    pairs = [(str(keyword.arg), _literal(keyword.value)) for keyword in node.keywords]
    return Call(_dotted_name(node.func), _dict_of(pairs))


def _dotted_name(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise CallError("function without a name")
    if len(parts) > MAX_DEPTH:
        raise CallError("nested too deep")
    return ".".join([node.id, *reversed(parts)])


def _literal(node: ast.expr | None, depth: int = 0) -> Any:
    """Returns the value of a literal; raises CallError for any node that needs evaluation."""
    if depth > MAX_DEPTH:
        raise CallError("nested too deep")
    match node:
        case ast.Constant(value=value):
            return _validated_scalar(value)
        case ast.Name(id=name):
            return name
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=number)):
            if isinstance(number, int | float) and not isinstance(number, bool):
                return _validated_scalar(-number if isinstance(sign, ast.USub) else number)
        case ast.List(elts=items):
            return [_literal(item, depth + 1) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_literal(item, depth + 1) for item in items)
        case ast.Dict(keys=keys, values=values):
            read = [_literal(item, depth + 1) for item in values]
            return _dict_of(list(zip(map(_string_key, keys), read, strict=True)))
    raise CallError("argument is no literal")


def _string_key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise CallError("dict key is no text")
