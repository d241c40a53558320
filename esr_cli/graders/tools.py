"""Grades one function call by the rules of the Berkeley Function-Calling Leaderboard (BFCL).

Source: BFCL v4 (`bfcl-eval` 2026.3.23), categories simple and multiple in Python: exactly one
call, the right function, every required parameter, no unknown one, each value of the described
type and among the allowed ones; a parameter may be left out where `""` is allowed. Kept with all
their edges, so that accuracies compare:

- An int is welcome where a float is described, but not inside a list, unless the key has one.
- A value of the key's type is taken where the description names another (a variable, named as
  text in the key), and is then compared exactly, without normalisation.
- Texts compare without case, blanks and `,./-_*^`; in a list or dict only one level deep.
- For an optional list the types of the items are free, and `[]` counts as left out.
- Equality is Python's (`True == 1`) wherever a type has not been checked before.

Deliberately different, see `scripts/compare_tools_with_bfcl.py`. Wrong here, right there:

- A positional argument, which BFCL drops: the call says something that was never compared.
- The same parameter or key twice: BFCL takes the last.
- An expression (`x=2+3`, `x=g()`, `x=...`): BFCL evaluates it or takes its source text.
- `x=not 5`, `x=~5`: BFCL reads -5.
- A malformed `<tool_call>` beside a good one: BFCL's decoder skips it.

Right here, wrong there:

- `math.factorial` and `math_factorial` are one name; which of them BFCL takes hangs on the model.
- The forms of JSON and fences (see `calls`) that the decoder of a given model does not read.
- `x=+5`: BFCL reads -5.

Wrong here where BFCL raises: integers beyond the range of a float, items that are no dict in a
list of dicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from esr_cli.graders.calls import CallError, canonical, read_calls
from esr_cli.types import Grade, ToolReference

TYPES: dict[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}
IGNORED = str.maketrans("'", '"', " ,./-_*^")


def grade(response: str, reference: ToolReference) -> Grade:
    """Right when the response is the one call that the reference allows.

    `also` holds `parsed` (it reads as calls) and `name` (one call, of the right function);
    `answer` is the call with the function as described. Raises KeyError where the reference
    contradicts itself: no description of the right function, or a type that BFCL does not know.
    """
    try:
        calls = read_calls(response)
    except CallError as error:
        return Grade(False, str(error), also={"name": False, "parsed": False})
    if len(calls) != 1:
        also = {"name": False, "parsed": True}
        return Grade(False, f"{len(calls)} calls, not one", also=also)
    described = {function["name"]: function for function in reference.functions}
    name, arguments = _described(calls[0].name, described), calls[0].arguments
    [(right, allowed)] = reference.allowed.items()
    named = name == right
    fault = f"wrong function {_short(name)}"
    if named:
        fault = _fault(arguments, described[right]["parameters"], allowed)
    answer = canonical(name, arguments)
    return Grade(not fault, fault or "right", answer, {"name": named, "parsed": True})


def _described(name: str, described: Mapping[str, Any]) -> str:
    """The name as the functions have it; APIs that forbid dots write underscores for them."""
    if name in described:
        return name
    return next((known for known in described if known.replace(".", "_") == name), name)


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:40]}…")


def _fault(
    arguments: Mapping[str, Any], parameters: Mapping[str, Any], allowed: Mapping[str, list[Any]]
) -> str:
    """The first thing wrong with the arguments, or nothing."""
    described = parameters["properties"]
    for name in parameters.get("required", ()):
        if name not in arguments:
            return f"missing required {name!r}"
    for name, value in arguments.items():
        if name not in described or name not in allowed:
            return f"unexpected {_short(name)}"
        wrong = _wrong(value, described[name], allowed[name])
        if wrong:
            return f"wrong {wrong} of {name!r}"
    for name, options in allowed.items():
        if name not in arguments and "" not in options:
            return f"missing {name!r}"
    return ""


def _wrong(value: Any, description: Mapping[str, Any], options: list[Any]) -> str:
    """What is wrong with the value: `type`, `item type`, `value` or nothing."""
    kind = description["type"]
    expected, keyed, inner = TYPES[kind], _type_of(options), None
    if expected is list:
        inner = TYPES.get(description.get("items", {}).get("type", ""))
    if kind == "tuple" and isinstance(value, tuple):
        value = list(value)
    if kind == "float" and type(value) is int:
        value = float(value)
    # type() and not isinstance(): a bool is no int here.
    if type(value) is not expected and type(value) is not keyed:
        return "type"
    if inner and isinstance(value, list) and not _items_fit(value, inner, options):
        return "item type"
    if type(value) is not expected or keyed not in (None, expected):
        return "" if value in options else "value"
    return "" if _agrees(value, expected, inner, options) else "value"


def _type_of(options: Sequence[Any]) -> type | None:
    return next((type(option) for option in options if option != ""), None)


def _items_fit(value: list[Any], inner: type, options: list[Any]) -> bool:
    """Whether one allowed list has items of these types; `""` has none to compare with."""
    return any(
        not isinstance(option, list)
        or all(type(item) in (inner, _type_of(option)) for item in value)
        for option in options
    )


def _agrees(value: Any, expected: type, inner: type | None, options: list[Any]) -> bool:
    if expected is dict:
        return any(_dict_agrees(value, option) for option in options)
    if expected is list and inner is dict:
        return any(_dicts_agree(value, option) for option in options)
    if expected is list:
        return _plain(value) in [_plain(list(option)) for option in options]
    return _plain(value) in [_plain(option) for option in options]


def _plain(value: Any) -> Any:
    """A text, or each text of a list, as BFCL compares it: `April 1, 2024` is `april 1 2024`."""
    if isinstance(value, list):
        return [_plain(item) if isinstance(item, str) else item for item in value]
    return value.translate(IGNORED).lower() if isinstance(value, str) else value


def _dict_agrees(value: Any, option: Any) -> bool:
    """Each key allowed, each value among that key's own allowed ones, none missing but optional."""
    if not isinstance(value, dict) or not isinstance(option, dict):
        return False
    for key, item in value.items():
        if key not in option or not _among(item, option[key]):
            return False
    return all(key in value or "" in option[key] for key in option)


def _among(item: Any, options: list[Any]) -> bool:
    if isinstance(item, list):  # Texts inside it compare as they are written.
        return item in options
    return _plain(item) in [_plain(one) if isinstance(one, str) else one for one in options]


def _dicts_agree(value: list[Any], option: Any) -> bool:
    return len(value) == len(option) and all(map(_dict_agrees, value, option))
