"""Writes docs/settings.md: every setting of every command, from the dataclasses and conf.

    python scripts/write_settings.py

The text of `esr train --help` in docs/terminal.md is written, too.

The description of a setting is its comment in conf. The docstring of its dataclass stands above the
table and covers the others.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import esr_cli.config
from esr_cli.base.files import conf_dir
from esr_cli.base.words import as_typed
from esr_cli.cli import help as helps
from esr_cli.cli import known
from esr_cli.cli.main import COMMANDS

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
TERMINAL = PAGE.with_name("terminal.md")
HELP = "$ esr train --help\n"
HEAD = """# Settings

Every setting of every command, with its default. Written by `python scripts/write_settings.py`
from the dataclasses in `esr_cli/config` and the files in `conf`: change those, not this page.

`key=value` sets a setting, `a.b=value` a setting of a group. `group=option` selects a file in
`conf/group/`, which sets several at once. A list is `key=[a,b]`, an empty value `key=null`.
`esr COMMAND --help=KEY` explains a setting; `--cfg job` shows the settings that result from a
command line.
"""
SAME_AS_TRAIN = ("check",)


def described(schema: Any) -> str:
    """The docstring of a dataclass, with one line per paragraph."""
    text = inspect.getdoc(schema) or ""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def sections(command: str) -> Iterator[str]:
    """The tables of a command: its top-level settings, then a table for each group."""
    schema = getattr(esr_cli.config, COMMANDS[command][0])
    texts, values = known.meanings(command), helps.defaults(command)
    hints = get_type_hints(schema)
    inner = {name: helps.inner_of(hint) for name, hint in hints.items()}
    trains = command in ("probe", "teacher")
    theirs = set(get_type_hints(esr_cli.config.TrainConfig)) if trains else set()
    theirs -= set(values)  # what the command has in its own words
    own = [name for name in hints if inner[name] is None and name not in theirs]
    yield described(schema)
    yield _table(schema, own, "", texts, values)
    for name in dict.fromkeys([*(name for name in hints if inner[name]), *known.groups(command)]):
        if name not in theirs:
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
        rows = [f"| `{name}={path.stem}` | {_cell(known.about(path))} |" for path in options]
        yield "\n".join(["| option | |", "|---|---|", *rows])


def _table(
    schema: Any, names: list[str], prefix: str, texts: dict[str, str], values: dict[str, Any]
) -> str:
    hints, rows = get_type_hints(schema), []
    standard = {field.name: helps.standard(field) for field in dataclasses.fields(schema)}
    for name in names:
        inside = helps.inner_of(hints[name])
        kind = "a group" if inside else helps.kind_in_words(hints[name])
        value = values.get(name, standard[name])
        shown = "" if inside or value in ("", "???") else f"`{_cell(as_typed(value))}`"
        meaning = _cell(texts.get(f"{prefix.replace('NAME.', '')}{name}", ""))
        rows.append(f"| `{prefix}{name}` | {kind} | {shown} | {meaning} |")
    return "\n".join(["| setting | type | default | |", "|---|---|---|---|", *rows])


def _cell(text: str) -> str:
    """Escapes text for a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


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


def terminal(text: str) -> str:
    """The page on the terminal with the help of `esr train` at 100 columns."""
    os.environ["COLUMNS"] = "100"
    before, head, rest = text.partition(HELP)
    _, fence, after = rest.partition("```")
    return f"{before}{head}{helps.page('train', COMMANDS['train'][0], '')}{fence}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
    TERMINAL.write_text(terminal(TERMINAL.read_text()))
