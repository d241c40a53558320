"""Reads the function calls of a response, whatever it holds, without evaluating any of it.

Forms, after what stands before a last `</think>`: JSON in `<tool_call>…</tool_call>`, with prose
around; else the whole response, bare or fenced, as JSON objects (`name`, and `arguments` or
`parameters`, an object or its JSON text) or as Python calls of keyword arguments, `[f(x=1)]`.
As in BFCL a missing outer bracket is added and a bare word is the text of its name
(`f(x=total)`); every other expression but a literal is refused.

Linear in the length: what is parsed is at most `MAX_CHARS` long and `MAX_DEPTH` deep, and a
number must be finite as a float.
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
    """The text is no function call; the message says in a few words why not."""


@dataclass(frozen=True)
class Call:
    """One function call; in `arguments` a Python tuple stays a tuple."""

    name: str
    arguments: Mapping[str, Any]


def read_calls(response: str) -> list[Call]:
    """Every call of the response, at least one; CallError where any part of it cannot be read."""
    payloads = _payloads(response.rpartition("</think>")[2])
    if sum(map(len, payloads)) > MAX_CHARS:
        raise CallError("too long")
    try:
        calls = [call for payload in payloads for call in _calls(_unfenced(payload))]
    except (RecursionError, MemoryError):
        # What Python's two parsers raise on deep text, within their own limits.
        raise CallError("nested too deep") from None
    if not calls:
        raise CallError("no call")
    return calls


def canonical(name: str, arguments: Mapping[str, Any]) -> str:
    """One text for equal calls: the name, then the arguments as JSON with sorted keys."""
    return f"{name} {json.dumps(_tagged(arguments), sort_keys=True)}"


def _tagged(value: Any) -> Any:
    """Keeps a tuple apart from a list, which BFCL judges differently."""
    if isinstance(value, Mapping):
        return {key: _tagged(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_tagged(item) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    return value


def _payloads(text: str) -> list[str]:
    if OPEN not in text:
        return [text]
    # Split rather than a lazy regular expression, which many unclosed tags make quadratic.
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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise CallError("duplicate key")
    return found


def _refuse(constant: str) -> NoReturn:
    raise CallError(f"{constant} is no JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)


def _decoded(text: str, start: int = 0) -> tuple[Any, int]:
    """The JSON value at `start`, and where it ends."""
    try:
        return DECODER.raw_decode(text, start)
    except CallError:
        raise
    except ValueError:
        raise CallError("malformed JSON") from None


def _json_calls(text: str) -> list[Call]:
    """Objects, or lists of them, one after another; some models put `;` or `,` between them."""
    calls, at = [], 0
    while at < len(text):
        value, at = _decoded(text, at)
        calls += [_json_call(item) for item in (value if isinstance(value, list) else [value])]
        while at < len(text) and text[at] in " \t\r\n,;":
            at += 1
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
        arguments, end = _decoded(text)
        if end < len(text):
            raise CallError("malformed JSON")
    if not isinstance(arguments, dict):
        raise CallError("arguments are no object")
    return Call(value["name"], _checked(arguments))


def _checked(value: Any, depth: int = 0) -> Any:
    """The JSON value itself, once its depth and every number in it are seen to be fine."""
    if depth > MAX_DEPTH:
        raise CallError("nested too deep")
    if isinstance(value, dict):
        return {key: _checked(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_checked(item, depth + 1) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
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
    whole = ("" if text.startswith("[") else "[") + text + ("" if text.endswith("]") else "]")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(whole, mode="eval").body
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
    return Call(_dotted(node.func), _unique(pairs))


def _dotted(node: ast.expr) -> str:
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
    """The value that a literal writes; CallError for whatever would have to be evaluated."""
    if depth > MAX_DEPTH:
        raise CallError("nested too deep")
    match node:
        case ast.Constant(value=value):
            return _scalar(value)
        case ast.Name(id=name):
            return name
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=number)):
            if isinstance(number, int | float) and not isinstance(number, bool):
                return _scalar(-number if isinstance(sign, ast.USub) else number)
        case ast.List(elts=items):
            return [_literal(item, depth + 1) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_literal(item, depth + 1) for item in items)
        case ast.Dict(keys=keys, values=values):
            read = [_literal(item, depth + 1) for item in values]
            return _unique(list(zip(map(_key, keys), read, strict=True)))
    raise CallError("argument is no literal")


def _key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise CallError("dict key is no text")
