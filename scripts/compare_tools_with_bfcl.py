"""Compares the verdicts of esr's grader of function calls with those of BFCL's checker.

For every row of BFCL v4 simple (Python) and multiple, the script grades the first allowed call and
variants with one change (`changes` and `texts` below), each as a JSON tool call and as a Python
call. BFCL decodes both forms; a call is correct if it passes under either of its settings for dots
in names. Exits with 1 if a verdict differs for a change that `EXPECTED` does not list. The data
folder holds `bfcl/BFCL_v4_*.json` and `bfcl/possible_answer/`.

BFCL is not a dependency of esr. Its checker imports `bfcl_eval.constants.model_config`, which
imports the clients of every provider. Only one flag of it is read, so a stub replaces it:

    pip install --no-deps bfcl-eval==2026.3.23
    pip install tenacity filelock python-dotenv tree_sitter==0.21.3 \\
        tree-sitter-java==0.21.0 tree-sitter-javascript==0.21.4
    python scripts/compare_tools_with_bfcl.py DATA_FOLDER
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from esr_cli.graders.tools import grade
from esr_cli.types import ToolReference

stub = ModuleType("bfcl_eval.constants.model_config")
stub.MODEL_CONFIG_MAPPING = {  # type: ignore[attr-defined]
    "dots": SimpleNamespace(underscore_to_dot=False),
    "underscores": SimpleNamespace(underscore_to_dot=True),
}
sys.modules[stub.__name__] = stub

from bfcl_eval.constants.enums import Language  # noqa: E402
from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker  # noqa: E402
from bfcl_eval.model_handler.utils import default_decode_ast_prompting  # noqa: E402
from bfcl_eval.utils import is_function_calling_format_output  # noqa: E402

EXPECTED = {
    "positional": "BFCL drops what has no keyword",
    "repeated": "BFCL takes the last of two equal names",
    "arithmetic": "BFCL evaluates it",
    "plus": "BFCL reads +x as -x",
    "negated": "BFCL reads ~x as -x",
    "ellipsis": "BFCL reads it as a text of dots, which it then ignores",
    "malformed beside": "BFCL's decoder skips the malformed one",
    "text arguments": "BFCL's decoder reads no JSON within JSON",
    "parameters": "BFCL's decoder knows `arguments` only",
    "fence": "BFCL's decoders know no fence with a language",
    "bare": "BFCL's decoder wants the tags",
    "no line breaks": "BFCL's decoder wants the tags on lines of their own",
}
LISTED = 20


def first(options: list[Any]) -> Any:
    """The first allowed value; an object holds a list of allowed values for each key."""
    value = next(option for option in options if option != "")
    items = value if isinstance(value, list) else [value]
    plain = [
        {key: first(each) for key, each in item.items()} if isinstance(item, dict) else item
        for item in items
    ]
    return plain if isinstance(value, list) else plain[0]


def values(value: Any) -> Iterator[tuple[str, Any]]:
    """Yields (change, value): values to put in place of an argument."""
    yield from (("null", None), ("empty text", ""), ("empty list", []), ("empty object", {}))
    yield from (("as text", str(value)), ("in a list", [value]), ("true", True), ("one", 1))
    yield from (("a text", "Elsewhere"), ("a tuple", (1.0, 2.0)))
    if isinstance(value, str):
        yield from (("case", value.swapcase()), ("blanks", f" {value} "), ("marks", f"{value}!"))
        yield from (("ignored marks", f"{value}._-*^/,"), ("quotes", value.replace("'", '"')))
    if isinstance(value, int | float):
        yield from (("float", float(value)), ("int", int(value)), ("more", value + 1))
        yield "negative", -value
    if isinstance(value, list):
        yield from (("reversed", value[::-1]), ("longer", [*value, *value[:1]]))
        yield from (("shorter", value[1:]), ("as tuple", tuple(value)))
        yield from ((f"items: {how}", [new, *value[1:]]) for how, new in changed_items(value))
    if isinstance(value, dict):
        yield from (("a key more", value | {"more": 1}), ("a key less", dict([*value.items()][1:])))
        yield from ((f"entry: {how}", value | {key: new}) for key, how, new in entries(value))


def changed_items(value: list[Any]) -> Iterator[tuple[str, Any]]:
    if value and not isinstance(value[0], list):
        yield from values(value[0])


def entries(value: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for key, item in value.items():
        yield from ((key, how, new) for how, new in values(item))


def changes(reference: ToolReference) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields (change, function, arguments), the correct call first."""
    [(name, allowed)] = reference.allowed.items()
    arguments = {key: first(options) for key, options in allowed.items() if options != [""]}
    yield "right", name, arguments
    yield "least", name, {key: value for key, value in arguments.items() if "" not in allowed[key]}
    yield from (
        ("underscores", name.replace(".", "_"), arguments),
        ("renamed", f"{name}_2", arguments),
    )
    yield from (
        ("capitals", name.upper(), arguments),
        ("extra", name, arguments | {"verbose": True}),
    )
    yield from (("other function", other["name"], arguments) for other in reference.functions)
    for key, value in arguments.items():
        yield "missing", name, {other: arguments[other] for other in arguments if other != key}
        yield (
            "misspelt",
            name,
            {f"{other}s" if other == key else other: arguments[other] for other in arguments},
        )
        for option in allowed[key]:
            if option != "" and not isinstance(option, dict):
                yield "allowed", name, arguments | {key: option}
        yield from (
            (f"{how} for {key}", name, arguments | {key: new}) for how, new in values(value)
        )
    for key in sorted(allowed.keys() - arguments.keys()):
        yield from (
            (f"{how} for omitted {key}", name, arguments | {key: new}) for how, new in values(1)
        )


def as_json(name: str, arguments: Mapping[str, Any]) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def as_python(name: str, arguments: Mapping[str, Any]) -> str:
    return f"[{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})]"


def texts(name: str, arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields (change, response): unusual texts around the correct call."""
    tagged, python = as_json(name, arguments), as_python(name, arguments)
    bare = json.dumps({"name": name, "arguments": arguments})
    key = next(iter(arguments), "x")
    inside = python[len(name) + 2 : -2]
    yield from (("twice", tagged + "\n" + tagged), ("prose", f"I call it.\n{tagged}\nDone."))
    yield from (("twice", f"{python[:-1]}, {python[1:]}"), ("prose", f"I call it: {python}"))
    yield from (("cut", tagged[:-14]), ("cut", python[:-3]), ("no brackets", python[1:-1]))
    yield from (("one bracket", python[:-1]), ("backticks", f"`{python}`"), ("nothing", ""))
    yield from (("thought", f"<think>f(x=1)</think>\n{tagged}"), ("empty", "[]"))
    yield from (("fence", f"```json\n{bare}\n```"), ("fence", f"```python\n{python}\n```"))
    yield from (("plain fence", f"```\n{python}\n```"), ("bare", bare))
    yield from (("bare word", f"[{name}({key}=word)]"), ("spread", f"[{name}(**{arguments!r})]"))
    yield from (("no line breaks", tagged.replace("\n", "")), ("call", f"[{name}({key}=g())]"))
    yield "parameters", tagged.replace('"arguments"', '"parameters"', 1)
    yield "text arguments", as_json(name, json.dumps(arguments))  # type: ignore[arg-type]
    yield "malformed beside", f"{tagged}\n<tool_call>\n{{\n</tool_call>"
    yield "positional", f"[{name}(1, {inside})]"
    yield "repeated", f"[{name}({key}=None, {inside})]"
    yield "repeated", tagged.replace('"arguments": {', f'"arguments": {{{json.dumps(key)}: null, ')
    for key, value in arguments.items():
        rest = as_python(name, {other: arguments[other] for other in arguments if other != key})[
            :-2
        ]
        rest += "" if rest.endswith("(") else ", "
        yield "ellipsis", f"{rest}{key}=...)]"
        if type(value) in (int, float):
            yield from (
                ("arithmetic", f"{rest}{key}={value}+0)]"),
                ("plus", f"{rest}{key}=+{value})]"),
            )
            yield "negated", f"{rest}{key}=~{-value})]"


def decoded(response: str) -> list[Any]:
    """BFCL's decoding: the tags of its Qwen handler, else its decoder of Python calls."""
    response = response.rpartition("</think>")[2].lstrip("\n")
    if "<tool_call>" not in response:
        return default_decode_ast_prompting(response)
    found = []
    for body in re.findall(r"<tool_call>\n(.*?)\n</tool_call>", response, re.DOTALL):
        try:
            found.append(json.loads(body))
        except ValueError:
            continue
    return [{call["name"]: dict(call["arguments"].items())} for call in found]


def bfcl_verdict(response: str, row: dict[str, Any], truth: list[Any]) -> bool:
    """BFCL's verdict; any exception on a response counts as wrong."""
    try:
        calls = decoded(response)
        if not is_function_calling_format_output(calls):
            return False
        category = "multiple" if row["id"].startswith("multiple") else "simple_python"
        return any(
            ast_checker(row["function"], calls, truth, Language.PYTHON, category, model)["valid"]
            for model in stub.MODEL_CONFIG_MAPPING
        )
    except Exception:
        return False


def cases(reference: ToolReference) -> Iterator[tuple[str, str]]:
    made = list(changes(reference))
    for change, name, arguments in made:
        yield change, as_json(name, arguments)
        yield change, as_python(name, arguments)
    yield from texts(*made[0][1:])


def rows(folder: Path) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    for name in ("BFCL_v4_simple_python.json", "BFCL_v4_multiple.json"):
        keys = (folder / "bfcl" / "possible_answer" / name).read_text().splitlines()
        asked = (folder / "bfcl" / name).read_text().splitlines()
        for line, key in zip(asked, keys, strict=True):
            yield json.loads(line), json.loads(key)["ground_truth"]


def main(folder: Path) -> int:
    """Prints the agreement and its exceptions; returns 1 on an unlisted difference."""
    counts: Counter[str] = Counter()
    unlisted = 0
    for row, truth in rows(folder):
        reference = ToolReference(tuple(row["function"]), truth[0])
        for change, response in cases(reference):
            verdict, other = grade(response, reference), bfcl_verdict(response, row, truth)
            counts["all"] += 1
            counts["right"] += verdict.correct
            if verdict.correct == other:
                continue
            counts[f"{change}: {'right' if verdict.correct else 'wrong'} here"] += 1
            if change not in EXPECTED:
                unlisted += 1
                if unlisted <= LISTED:
                    print(f"{row['id']}, {change}: esr {verdict.reason}, BFCL {other}: {response}")
    total, right = counts.pop("all"), counts.pop("right")
    print(f"{total} responses, {right} right; {total - counts.total()} verdicts agree")
    for change, count in counts.most_common():
        print(f"  {count:5} {change}; {EXPECTED.get(change.split(':')[0], 'NOT LISTED')}")
    return 1 if unlisted else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
