"""Grades one function call by the rules of the Berkeley Function-Calling Leaderboard (BFCL).

Source: BFCL v4 (`bfcl-eval` 2026.3.23), categories simple and multiple in Python: exactly one
call, the right function, every required parameter, no unknown one, each value of the described
type and among the allowed ones. A parameter may be omitted if `""` is allowed. The edge cases are
kept, so that accuracies are comparable ("key" is the published answer key):

- An int is accepted for a float, but not inside a list, unless the key has one.
- A value of the key's type is accepted even if the description names another type (a variable,
  named as a string in the key). It is then compared exactly, without normalisation.
- Strings compare without case, blanks and `,./-_*^`; in a list or dict only one level deep.
- In an optional list the items may have any type, and `[]` counts as omitted.
- Equality is Python's (`True == 1`) if the type has not been checked before.

Deliberate differences, see `scripts/compare_tools_with_bfcl.py`. Wrong here, right in BFCL:

- A positional argument. BFCL drops it, so it is never compared.
- A repeated parameter or key. BFCL takes the last.
- An expression (`x=2+3`, `x=g()`, `x=...`). BFCL evaluates it or takes its source text.
- `x=not 5`, `x=~5`. BFCL reads -5.
- A malformed `<tool_call>` next to a valid one. BFCL's decoder skips it.

Right here, wrong in BFCL:

- `math.factorial` and `math_factorial` are the same name; BFCL accepts one, depending on the model.
- The forms of a call (see `calls`) that a model's BFCL decoder does not read; `f(x=true)`.
- `x=+5`. BFCL reads -5.

Wrong here, an exception in BFCL: integers beyond the range of a float, and items other than dicts
in a list of dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from esr_cli.graders import lenient
from esr_cli.graders.call_python import python_value
from esr_cli.graders.call_types import CallError, Untyped, decode, validated
from esr_cli.graders.calls import canonical, read_calls
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
# Prefixes that OpenAI's and Google's formats put before a function's name.
NAMESPACES = ("functions.", "default_api.")
IGNORED = str.maketrans("'", '"', " ,./-_*^")


def grade(response: str, reference: ToolReference) -> Grade:
    """Grades as correct if the response is a single call that the reference allows.

    `also` holds `parsed` (the response parses as calls), `name` (one call, of the right function)
    and `lenient` (that call, with values that compare as in `lenient`). `answer` is the call with
    the function name as described. The response is not judged if the reference is inconsistent: no
    description of the right function, or a type unknown to BFCL.
    """
    if fault := _reference_fault(reference):
        return Grade(False, fault, judged=False)
    try:
        calls = read_calls(response)
    except CallError as error:
        return Grade(False, str(error), also=_also(parsed=False))
    if len(calls) != 1:
        return Grade(False, f"{len(calls)} calls, not one", also=_also())
    described = {function["name"]: function for function in reference.functions}
    name = _described_name(calls[0].name, described)
    arguments = _typed(calls[0].arguments, described.get(name, {}))
    [(right, allowed)] = reference.allowed.items()
    named = name == right
    fault = lenient_fault = f"wrong function {_short(name)}"
    if named:
        parameters = described[right]["parameters"]
        fault = _error(arguments, parameters, allowed, _value_error)
        lenient_fault = _error(arguments, parameters, allowed, _lenient_error)
    also = _also(name=named, alike=not lenient_fault)
    return Grade(not fault, fault or "right", canonical(name, arguments), also)


def _also(parsed: bool = True, name: bool = False, alike: bool = False) -> dict[str, bool]:
    return {"parsed": parsed, "name": name, "lenient": alike}


def _reference_fault(reference: ToolReference) -> str:
    """Why no response to the reference can be judged, or an empty string."""
    described = {function["name"]: function for function in reference.functions}
    if len(reference.allowed) != 1 or not reference.allowed.keys() <= described.keys():
        return "the reference describes no right function"
    [right] = reference.allowed
    kinds = [each.get("type") for each in described[right]["parameters"]["properties"].values()]
    unknown = [kind for kind in kinds if kind not in TYPES]
    return f"the reference has the unknown type {unknown[0]!r}" if unknown else ""


def _described_name(name: str, described: Mapping[str, Any]) -> str:
    """Returns the described name; APIs that forbid dots replace them by underscores."""
    if name in described:
        return name
    for space in NAMESPACES:
        if name.startswith(space):
            return _described_name(name.removeprefix(space), described)
    return next((known for known in described if known.replace(".", "_") == name), name)


def _typed(arguments: Mapping[str, Any], function: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with untyped text read as its parameter's type; text stays where it is due."""
    described = function.get("parameters", {}).get("properties", {})

    def read(name: str, value: Any) -> Any:
        if not isinstance(value, Untyped):
            return value
        kind = described.get(name, {}).get("type", "string")
        return str(value) if TYPES[kind] is str else _literal(str(value))

    return {name: read(name, value) for name, value in arguments.items()}


def _literal(text: str) -> Any:
    """The JSON or Python literal that the text spells; the text itself if it spells none."""
    text = text.strip()
    try:
        value, end = decode(text)
        if end == len(text):
            return validated(value)
    except (CallError, RecursionError):
        pass
    try:
        return python_value(text)
    except (CallError, RecursionError, MemoryError):
        return text


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:40]}…")


def _error(
    arguments: Mapping[str, Any], parameters: Mapping[str, Any], allowed: Mapping[str, list[Any]],
    error_of: Callable[[Any, Any, list[Any]], str],
) -> str:  # fmt: skip
    """Returns the first error in the arguments, or an empty string.

    `error_of` takes a value, the description of its parameter and the allowed values.
    """
    described = parameters["properties"]
    for name in parameters.get("required", ()):
        if name not in arguments:
            return f"missing required {name!r}"
    for name, value in arguments.items():
        if name not in described or name not in allowed:
            return f"unexpected {_short(name)}"
        wrong = error_of(value, described[name], allowed[name])
        if wrong:
            return f"wrong {wrong} of {name!r}"
    for name, options in allowed.items():
        if name not in arguments and "" not in options:
            return f"missing {name!r}"
    return ""


def _lenient_error(value: Any, _: Any, options: list[Any]) -> str:
    return "" if lenient.among(value, options) else "value"


def _value_error(value: Any, description: Mapping[str, Any], options: list[Any]) -> str:
    """Returns the error of the value: `type`, `item type`, `value` or an empty string."""
    kind = description["type"]
    expected, keyed, inner = TYPES[kind], _type_of_options(options), None
    if expected is list:
        inner = TYPES.get(description.get("items", {}).get("type", ""))
    if kind == "tuple" and isinstance(value, tuple):
        value = list(value)
    if kind == "float" and type(value) is int:
        value = float(value)
    # type() and not isinstance(), because a bool must not count as an int.
    if type(value) is not expected and type(value) is not keyed:
        return "type"
    if inner and isinstance(value, list) and not _items_fit(value, inner, options):
        return "item type"
    if type(value) is not expected or keyed not in (None, expected):
        return "" if value in options else "value"
    return "" if _matches(value, expected, inner, options) else "value"


def _type_of_options(options: Sequence[Any]) -> type | None:
    return next((type(option) for option in options if option != ""), None)


def _items_fit(value: list[Any], inner: type, options: list[Any]) -> bool:
    """Returns whether an allowed list has the same item types; `""` matches any."""
    return any(
        not isinstance(option, list)
        or all(type(item) in (inner, _type_of_options(option)) for item in value)
        for option in options
    )


def _matches(value: Any, expected: type, inner: type | None, options: list[Any]) -> bool:
    if expected is dict:
        return any(_dict_matches(value, option) for option in options)
    if expected is list and inner is dict:
        return any(_dicts_match(value, option) for option in options)
    if expected is list:
        return _normalised(value) in [_normalised(list(option)) for option in options]
    return _normalised(value) in [_normalised(option) for option in options]


def _normalised(value: Any) -> Any:
    """Normalises strings, also in a list, as BFCL does: `April 1, 2024` becomes `april12024`."""
    if isinstance(value, list):
        return [_normalised(item) if isinstance(item, str) else item for item in value]
    return value.translate(IGNORED).lower() if isinstance(value, str) else value


def _dict_matches(value: Any, option: Any) -> bool:
    """Returns whether all keys and values are allowed and no required key is missing."""
    if not isinstance(value, dict) or not isinstance(option, dict):
        return False
    for key, item in value.items():
        if key not in option or not _among(item, option[key]):
            return False
    return all(key in value or "" in option[key] for key in option)


def _among(item: Any, options: list[Any]) -> bool:
    if isinstance(item, list):  # Strings inside it compare exactly.
        return item in options
    return _normalised(item) in [
        _normalised(one) if isinstance(one, str) else one for one in options
    ]


def _dicts_match(value: list[Any], option: Any) -> bool:
    return len(value) == len(option) and all(map(_dict_matches, value, option))
