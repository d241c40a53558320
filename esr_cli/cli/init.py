"""`esr init`: writes a file of settings to edit, with every top-level setting and its comment."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_type_hints

from esr_cli.base.files import options
from esr_cli.base.words import as_typed
from esr_cli.base.writing import open_file
from esr_cli.cli import help as helps
from esr_cli.cli import known, typed
from esr_cli.config import saved_yaml
from esr_cli.config.errors import ConfigError, did_you_mean

NAME = "esr.yaml"
SCHEMA = "TrainConfig"
# What a choice cannot do without.
NEEDED = {
    "pair=own": {
        "pair.student.path": "PATH        # a model folder, or a hub id",
        "pair.teacher.path": "PATH",
    },
    "task=jsonl": {"task.files": "[my.jsonl]          # below data_dir, or a path (docs/data.md)"},
}  # fmt: skip
HEAD = """# Settings of a run:  esr train {setting}      (esr check {setting} tries them)
# A line without # sets something; what is typed after it on the command line wins.
# esr train --help=KEY explains a setting, esr train --help=all lists every one.
"""


def run(arguments: Sequence[str]) -> None:
    """Writes the file; its path is `file=`, and other arguments become settings in it.

    Raises `ConfigError` for an unknown setting and for a file that is there already.
    """
    typed.check("init", SCHEMA, arguments)
    given, path, names = dict[str, str](), Path(NAME), known.names("train", SCHEMA)
    for argument in arguments:
        key, sign, value = argument.lstrip("+").partition("=")
        if not sign:
            raise ConfigError(f"{argument}: esr init takes key=value, such as pair=own")
        if key == "file":
            path = Path(value.strip("'\"") or NAME).expanduser()
        elif key not in names:
            hint = did_you_mean(key, [*names, "file"]) or "esr train --help=all lists them"
            raise ConfigError(f"{argument}: no such setting; {hint}")
        else:
            given[key] = _text(key, value)
    file_setting = shlex.quote(f"config={path}")
    text = HEAD.format(setting=file_setting) + "\n".join(_lines(given)) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_file(path, os.O_EXCL) as file:
            file.write(text.encode())
    except FileExistsError:
        raise ConfigError(f"file={path}: is there already; name another, file=NAME") from None
    except OSError as error:
        raise ConfigError(f"file={path}: cannot be written ({error.strerror})") from None
    print(f"{path}: edit it, then\nesr check {file_setting}\nesr train {file_setting}")


def _text(key: str, value: str) -> str:
    """The value in YAML, which `config=FILE` reads as it was typed."""
    # Imported late, as Hydra takes a while.
    from esr_cli.cli import composing

    found = composing.value_of(f"{key}={value}")
    if "${" in value:
        raise ConfigError(f"{key}={value}: ${{ in a file is not resolved; write it out")
    if names := options(key):
        several = isinstance(found, list) and key in typed.LISTS
        for each in found if several else [found]:
            of_file = key == "benchmark" and str(each).endswith((".yaml", ".yml"))
            if each not in names and not of_file:
                there = ", ".join(names)
                raise ConfigError(f"{key}={value}: no such option; there are {there}")
    return saved_yaml.line(key, found, value).removeprefix(f"{key}: ")


def _lines(given: dict[str, str]) -> Iterator[str]:
    texts, values, chosen = known.meanings("train"), helps.defaults("train"), helps.chosen("train")
    written = set[str]()
    yield "\n# What is trained on what. Each takes one of the options behind it."
    groups = [name for name in known.groups("train") if name not in ("sweep", "cluster")]
    for name in sorted(groups, key=("pair", "task", "benchmark").__contains__, reverse=True):
        option = given.get(name, chosen.get(name, ""))
        yield _line(name, option, ", ".join(options(name)), name in given)
        needed = NEEDED.get(f"{name}={option}", {})
        written |= {name, *needed}
        for key, value in needed.items():
            yield f"{key}: {given.get(key, value)}"
    yield "\n# The run."
    hints = get_type_hints(known.schema_of(SCHEMA))
    for name in ("rollout_len", *(each for each in hints if not helps.inner_of(hints[each]))):
        value = values.get(name, "")
        shown = "64" if value == "???" else as_typed(value)
        written.add(name)
        yield _line(name, given.get(name, shown), texts.get(name, ""), name in given)
    if rest := [key for key in given if key not in written]:
        yield "\n# Settings of the groups."
        yield from (_line(key, given[key], texts.get(key, ""), True) for key in rest)


def _line(key: str, value: str, comment: str, is_set: bool) -> str:
    line = f"{'' if is_set else '# '}{key}: {value}"
    return f"{line:<34}  # {comment}" if comment else line
