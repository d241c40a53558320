"""Function calls written in Python, with keyword arguments; parsed, never evaluated.

As in BFCL, a missing outer bracket is added and a bare name is read as a string (`f(x=total)`).
JSON's `true`, `false` and `null` are values. `x = f(…)`, `print(f(…))` and a final full stop are
accepted. Any other expression that is not a literal is refused.
"""

from __future__ import annotations

import ast
import warnings
from typing import Any

from esr_cli.graders.call_types import MAX_DEPTH, Call, CallError, dict_of, validated_scalar

NO_CALL = "neither JSON nor a call"
JSON_NAMES = {"true": True, "false": False, "null": None}


def python_calls(text: str) -> list[Call]:
    """The calls of a list or of one statement; raises CallError for any other text."""
    try:
        body = _parsed(("" if text.startswith("[") else "[") + text
                       + ("" if text.endswith("]") else "]"))  # fmt: skip
    except CallError:
        return [_call(_statement(text))]
    if not isinstance(body, ast.List):
        raise CallError(NO_CALL)
    return [_call(node) for node in body.elts]


def python_value(text: str) -> Any:
    """The value of a Python literal: an object with single quotes, `True`, a trailing comma."""
    return literal(_parsed(text))


def _parsed(source: str, mode: str = "eval") -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source, mode=mode).body  # type: ignore[attr-defined]
    except (SyntaxError, ValueError):
        raise CallError(NO_CALL) from None


def _statement(text: str) -> ast.expr:
    """The value of the only statement of `text`: an expression or an assignment."""
    body = _parsed(text.rstrip(".;"), "exec")
    if len(body) != 1 or not isinstance(body[0], ast.Expr | ast.Assign):
        raise CallError(NO_CALL)
    value: ast.expr = body[0].value
    return value


def _call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call):
        raise CallError(NO_CALL)
    if isinstance(node.func, ast.Name) and node.func.id == "print" and not node.keywords:
        inner = node.args[0] if len(node.args) == 1 else node
        if not isinstance(inner, ast.Call):
            raise CallError(NO_CALL)
        node = inner
    if node.args:
        raise CallError("positional argument")
    if any(keyword.arg is None for keyword in node.keywords):
        raise CallError("starred argument")
    pairs = [(str(keyword.arg), literal(keyword.value)) for keyword in node.keywords]
    return Call(_dotted_name(node.func), dict_of(pairs))


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


def literal(node: ast.expr | None, depth: int = 0) -> Any:
    """Returns the value of a literal; raises CallError for any node that needs evaluation."""
    if depth > MAX_DEPTH:
        raise CallError("nested too deep")
    match node:
        case ast.Constant(value=value):
            return validated_scalar(value)
        case ast.Name(id=name):
            return JSON_NAMES.get(name, name)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=number)):
            if isinstance(number, int | float) and not isinstance(number, bool):
                return validated_scalar(-number if isinstance(sign, ast.USub) else number)
        case ast.List(elts=items):
            return [literal(item, depth + 1) for item in items]
        case ast.Tuple(elts=items):
            return tuple(literal(item, depth + 1) for item in items)
        case ast.Dict(keys=keys, values=values):
            read = [literal(item, depth + 1) for item in values]
            return dict_of(list(zip(map(_string_key, keys), read, strict=True)))
    raise CallError("argument is no literal")


def _string_key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise CallError("dict key is no text")
