"""Writes docs/settings.md: every setting of every command, from the dataclasses and conf.

    python scripts/write_settings.py

The description of a setting is its comment in conf. The docstring of its dataclass stands above the
table and covers the others.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

import esr_cli.config
from esr_cli.base.files import conf_dir
from esr_cli.cli.completion import groups
from esr_cli.cli.main import COMMANDS
from esr_cli.config.schema import by_name

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
HEAD = """# Settings

Every setting of every command, with its default. Written by `python scripts/write_settings.py`
from the dataclasses in `esr_cli/config` and the files in `conf`: change those, not this page.

`key=value` sets a setting, `a.b=value` a setting of a group. `group=option` selects a file in
`conf/group/`, which sets several at once. A list is `key=[a,b]`, an empty value `key=null`.
`esr COMMAND --help` shows the resulting settings of a command line.
"""
# The option of each group whose comments describe its settings.
REFERENCE = {
    "rollout": "vllm", "tracking": "wandb", "execution": "process", "benchmark": "math500",
    "wording": "default", "teacher": "local",
}  # fmt: skip
LINE = re.compile(r"^( *)([\w-]+):(?: *(.*?))?(?: +# (.*))?$")
SAME_AS_TRAIN = ("check",)


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
    """The comments on all settings of a command."""
    texts = comments(conf_dir() / f"{command}.yaml")
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


def described(schema: Any) -> str:
    """The docstring of a dataclass, with one line per paragraph."""
    text = inspect.getdoc(schema) or ""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def defaults(command: str) -> dict[str, Any]:
    """The defaults of a command in conf; the others are in the dataclasses."""
    return yaml.safe_load((conf_dir() / f"{command}.yaml").read_text())


def sections(command: str) -> Iterator[str]:
    """The tables of a command: its top-level settings, then a table for each group."""
    schema = getattr(esr_cli.config, COMMANDS[command][0])
    texts, values = meanings(command), defaults(command)
    hints = get_type_hints(schema)
    inner = {name: _dataclass(hint) for name, hint in hints.items()}
    trains = command in ("probe", "teacher")
    known = set(get_type_hints(esr_cli.config.TrainConfig)) if trains else set()
    own = [name for name in hints if inner[name] is None and name not in known]
    yield described(schema)
    yield _table(schema, own, "", texts, values)
    for name in dict.fromkeys([*(name for name in hints if inner[name]), *groups(command)]):
        if name not in known:
            yield f"### {name}"
            yield from _group(name, inner.get(name), texts, values.get(name))


def _group(name: str, schema: Any, texts: dict[str, str], values: Any) -> Iterator[str]:
    options = sorted((conf_dir() / name).glob("*.yaml"))
    if schema is not None:
        yield described(schema)
        fields = [field.name for field in dataclasses.fields(schema)]
        # The settings of benchmarks and probes contain their names.
        prefix = f"{name}.NAME." if name in ("benchmark", "probe") else f"{name}."
        yield _table(schema, fields, prefix, texts, values if isinstance(values, dict) else {})
    if options:
        rows = [f"| `{name}={path.stem}` | {_cell(about(path))} |" for path in options]
        yield "\n".join(["| option | |", "|---|---|", *rows])


def _table(
    schema: Any, names: list[str], prefix: str, texts: dict[str, str], values: dict[str, Any]
) -> str:
    hints, rows = get_type_hints(schema), []
    standard = {field.name: _default(field) for field in dataclasses.fields(schema)}
    for name in names:
        inside = _dataclass(hints[name])
        kind = "a group" if inside else _kind(hints[name])
        value = values.get(name, standard[name])
        shown = "" if inside or value in ("", "???") else f"`{_plain(value)}`"
        meaning = _cell(texts.get(f"{prefix.replace('NAME.', '')}{name}", ""))
        rows.append(f"| `{prefix}{name}` | {kind} | {shown} | {meaning} |")
    return "\n".join(["| setting | type | default | |", "|---|---|---|---|", *rows])


def _cell(text: str) -> str:
    """Escapes text for a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def _default(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    value = field.default_factory()
    return value if isinstance(value, list | dict) else ""


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{', '.join(_plain(each) for each in value)}]"
    return "{}" if value == {} else str(value).replace("|", "\\|")


def _kind(hint: Any) -> str:
    if hint is Any:
        return "number or text"
    text = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    text = text.replace("typing.", "").replace("| None", "or null").replace("NoneType", "null")
    return text.replace("str", "text").replace("bool", "true or false").replace("|", "or")


def _dataclass(hint: Any) -> Any:
    """The dataclass of a setting, directly or as the value of a mapping."""
    return hint if dataclasses.is_dataclass(hint) else by_name(hint)


def page() -> str:
    """The complete page as Markdown."""
    parts = [HEAD]
    for command, (_, what) in COMMANDS.items():
        parts.append(f"## esr {command}\n\n{what.split(':')[0].capitalize()}.")
        if command in SAME_AS_TRAIN:
            parts.append("Takes the settings of `esr train`.")
            continue
        if command == "probe":
            parts.append("Takes the settings of `esr train`, and:")
        parts += sections(command)
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
