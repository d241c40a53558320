"""The settings of a command: names, types, choices, and the comments in conf that describe them.

Reads only the dataclasses and the files in conf. Composing the configuration takes about a second.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from esr_cli.base.files import conf_dir, options
from esr_cli.config.schema import by_name

# Groups that are added with a plus, and so are in no defaults list.
ADDED = {"train": ("sweep", "cluster"), "eval": ("cluster",)}
# The option of each group whose comments describe its settings.
REFERENCE = {
    "rollout": "vllm", "tracking": "wandb", "execution": "process", "benchmark": "math500",
    "wording": "default", "teacher": "local",
}  # fmt: skip
# Groups whose settings contain the name of an option: benchmark.lab.samples.
NAMED = ("benchmark", "probe")
LINE = re.compile(r"^( *)([\w-]+):(?: *(.*?))?(?: +# (.*))?$")


def schema_of(name: str) -> Any:
    """The dataclass of a command by its name in `esr_cli.config`."""
    import esr_cli.config

    return getattr(esr_cli.config, name)


def names(command: str, schema: str) -> list[str]:
    """The dotted names of all settings and groups of a command."""
    found = [*groups(command), *_dotted_names(schema_of(schema), "")]
    if "rollout" in found:
        found.append("rollout_len")
    if command == "train":
        found.append("nodes")  # of the launcher
    return list(dict.fromkeys(found))


def taken(command: str) -> tuple[str, ...]:
    """The keys that a command line takes besides settings."""
    return ("file",) if command == "init" else ("config",)


def _dotted_names(schema: Any, prefix: str) -> Iterator[str]:
    for name, hint in get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            yield from _dotted_names(hint, f"{prefix}{name}.")
        elif inner := by_name(hint):
            for option in options(name):
                yield from _dotted_names(inner, f"{prefix}{name}.{option}.")
        else:
            yield f"{prefix}{name}"


def groups(command: str) -> list[str]:
    """The config groups of a command."""
    found = list(ADDED.get(command, ()))
    text = (conf_dir() / f"{command}.yaml").read_text()
    for name, option in re.findall(r"^  - (\w+)(?:: (\w+))?$", text, re.M):
        if option:
            found.append(name)
        elif name != "_self_":
            found += groups(name)
    return found


def place(schema: str, key: str) -> tuple[Any, str]:
    """The dataclass that holds the setting `key`, and its name there; (None, "") if none does."""
    inside, parts = schema_of(schema), key.split(".")
    while parts:
        name = parts.pop(0)
        hint = get_type_hints(inside).get(name)
        if hint is None:
            break
        if not parts:
            return inside, name
        if dataclasses.is_dataclass(hint):
            inside = hint
        elif inner := by_name(hint):
            inside, parts = inner, parts[1:]
        else:
            break
    return None, ""


def kind(schema: str, key: str) -> Any:
    """The type of a setting; None if there is no such setting."""
    inside, name = place(schema, key)
    return get_type_hints(inside)[name] if inside else None


def choices(schema: str, key: str) -> tuple[str, ...]:
    """The values that a setting is limited to; empty if it is not."""
    inside, name = place(schema, key)
    if not inside:
        return ()
    field = next(each for each in dataclasses.fields(inside) if each.name == name)
    return tuple(field.metadata.get("choices", ()))


def comments(path: Path) -> dict[str, str]:
    """The comments in a yaml file, by the dotted name of their setting."""
    texts, parents = {}, list[tuple[int, str]]()
    for line in path.read_text().splitlines():
        if not (match := LINE.match(line)):
            continue
        indent, name, _, comment = match.groups()
        parents = [(depth, each) for depth, each in parents if depth < len(indent)]
        parents.append((len(indent), name))
        if comment:
            texts[".".join(each for _, each in parents)] = comment
    return texts


def meanings(command: str) -> dict[str, str]:
    """The comments on all settings of a command; those of NAMED groups without the option."""
    path, texts = conf_dir() / f"{command}.yaml", dict[str, str]()
    for base in re.findall(r"^  - (\w+)$", path.read_text(), re.M):
        texts |= meanings(base) if base != "_self_" else comments(path)
    for group, option in REFERENCE.items():
        path = conf_dir() / group / f"{option}.yaml"
        texts |= {f"{group}.{name}": text for name, text in comments(path).items()}
    for path in sorted((conf_dir() / "probe").glob("*.yaml")):
        texts |= {f"probe.{name}": f"{path.stem}: {text}" for name, text in comments(path).items()}
    return texts


def about(path: Path) -> str:
    """The leading comment of a yaml file, as one line."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    comment = []
    for line in lines:
        if not line.startswith("# "):
            break
        comment.append(line.removeprefix("# "))
    return " ".join(comment)
