"""Writes docs/settings.md: every setting of every command, from the dataclasses and conf.

    python scripts/write_settings.py

What a setting means is the comment that stands beside it in conf, else what the description of its
group says above the table.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import esr_cli.config
from esr_cli.base.files import conf_dir
from esr_cli.cli.completion import groups
from esr_cli.cli.main import COMMANDS
from esr_cli.config import gate
from esr_cli.config.schema import by_name

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
HEAD = """# Settings

Every setting of every command, with its default. Written by `python scripts/write_settings.py`
from the dataclasses in `esr_cli/config` and the files in `conf`: change those, not this page.

`key=value` sets one; `a.b=value` one of a group; `group=option` takes a file of `conf/group/`,
which sets several at once. Lists are `key=[a,b]`, nothing is `key=null`. `esr COMMAND --help` shows
what a command line would use.
"""
# Where the comments of a group stand, beside those of the command itself.
REFERENCE = {
    "rollout": "vllm", "tracking": "wandb", "execution": "process", "benchmark": "math500",
    "wording": "default",
}  # fmt: skip
LINE = re.compile(r"^( *)([\w-]+):(?: *(.*?))?(?: +# (.*))?$")
SAME_AS_TRAIN = ("check",)


def comments(path: Path) -> dict[str, str]:
    """The comment beside each setting of a yaml file, by its dotted name."""
    found, above = {}, list[tuple[int, str]]()
    for line in path.read_text().splitlines():
        if not (match := LINE.match(line)):
            continue
        indent, name, _, comment = match.groups()
        above = [(depth, each) for depth, each in above if depth < len(indent)]
        above.append((len(indent), name))
        if comment:
            found[".".join(each for _, each in above)] = comment
    return found


def meanings(command: str) -> dict[str, str]:
    """The comments on all settings of a command."""
    found = comments(conf_dir() / f"{command}.yaml")
    for group, option in REFERENCE.items():
        path = conf_dir() / group / f"{option}.yaml"
        found |= {f"{group}.{name}": text for name, text in comments(path).items()}
    for path in sorted((conf_dir() / "probe").glob("*.yaml")):
        found |= {f"probe.{name}": f"{path.stem}: {text}" for name, text in comments(path).items()}
    return found


def about(path: Path) -> str:
    """What the first comment of a yaml file says."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    said = []
    for line in lines:
        if not line.startswith("# "):
            break
        said.append(line.removeprefix("# "))
    return " ".join(said)


def described(schema: Any) -> str:
    """A dataclass's description as one paragraph a paragraph."""
    text = inspect.getdoc(schema) or ""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def defaults(command: str) -> dict[str, Any]:
    """What conf says of a command's settings; the dataclasses say the rest."""
    return gate.read_yaml(conf_dir() / f"{command}.yaml")


def sections(command: str) -> Iterator[str]:
    """The tables of a command: its own settings, then a table for each group."""
    schema = getattr(esr_cli.config, COMMANDS[command][0])
    told, given = meanings(command), defaults(command)
    hints = get_type_hints(schema)
    inner = {name: _dataclass(hint) for name, hint in hints.items()}
    known = set(get_type_hints(esr_cli.config.TrainConfig)) if command == "probe" else set()
    own = [name for name in hints if inner[name] is None and name not in known]
    yield described(schema)
    yield _table(schema, own, "", told, given)
    for name in dict.fromkeys([*(name for name in hints if inner[name]), *groups(command)]):
        if name not in known:
            yield f"### {name}"
            yield from _group(name, inner.get(name), told, given.get(name))


def _group(name: str, schema: Any, told: dict[str, str], given: Any) -> Iterator[str]:
    options = sorted((conf_dir() / name).glob("*.yaml"))
    if schema is not None:
        yield described(schema)
        fields = [field.name for field in dataclasses.fields(schema)]
        # Benchmarks and probes are set by the name of each.
        place = f"{name}.NAME." if name in ("benchmark", "probe") else f"{name}."
        yield _table(schema, fields, place, told, given if isinstance(given, dict) else {})
    if options:
        rows = [f"| `{name}={path.stem}` | {_text(about(path))} |" for path in options]
        yield "\n".join(["| option | |", "|---|---|", *rows])


def _table(
    schema: Any, names: list[str], prefix: str, told: dict[str, str], given: dict[str, Any]
) -> str:
    hints, rows = get_type_hints(schema), []
    standard = {field.name: _standard(field) for field in dataclasses.fields(schema)}
    for name in names:
        inside = _dataclass(hints[name])
        kind = "a group" if inside else _kind(hints[name])
        value = given.get(name, standard[name])
        shown = "" if inside or value in ("", "???") else f"`{_plain(value)}`"
        meaning = _text(told.get(f"{prefix.replace('NAME.', '')}{name}", ""))
        rows.append(f"| `{prefix}{name}` | {kind} | {shown} | {meaning} |")
    return "\n".join(["| setting | type | default | |", "|---|---|---|---|", *rows])


def _text(said: str) -> str:
    """As text of a table's cell."""
    return said.replace("|", "\\|").replace("<", "&lt;")


def _standard(field: Any) -> Any:
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
    """The dataclass that a setting holds, by itself or by name."""
    return hint if dataclasses.is_dataclass(hint) else by_name(hint)


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for command, (_, what) in COMMANDS.items():
        parts.append(f"## esr {command}\n\n{what.split(':')[0].capitalize()}.")
        if command in SAME_AS_TRAIN:
            parts.append("Takes what `esr train` takes.")
            continue
        if command == "probe":
            parts.append("Takes what `esr train` takes, and:")
        parts += sections(command)
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
