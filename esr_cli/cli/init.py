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
from esr_cli.cli import known, spelling, typed
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
    arguments = [spelling.spaced(each) for each in arguments]
    typed.check("init", SCHEMA, arguments)
    given, path, names = dict[str, str](), Path(NAME), known.names("train", SCHEMA)
    settings = []
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
            name = "rollout_len" if key == "rollout.max_tokens" else key
            if name in given:
                raise ConfigError(f"{argument}: {name} is given twice; keep one")
            given[name] = _text(key, value)
            settings.append(argument)
    file_setting = shlex.quote(f"config={path}")
    text = HEAD.format(setting=file_setting) + "\n".join(_lines(given, settings)) + "\n"
    try:
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


def _lines(given: dict[str, str], settings: list[str]) -> Iterator[str]:
    """The lines of the file; raises `ConfigError` for settings that do not go together."""
    # Imported late, as Hydra takes a while.
    from esr_cli.cli import composing

    needed = {key: value for name, option in given.items()
              for key, value in NEEDED.get(f"{name}={option}", {}).items()}  # fmt: skip
    filled = [f"{key}={value.split()[0]}" for key, value in needed.items() if key not in given]
    config, _ = composing.settings("train", [*settings, *filled])
    chosen = composing.choices("train", [*settings, *filled])
    texts, written = known.meanings("train"), set[str]()
    yield "\n# What is trained on what. Each takes one of the options behind it."
    groups = [name for name in known.groups("train") if name not in ("sweep", "cluster")]
    for name in sorted(groups, key=("pair", "task", "benchmark").__contains__, reverse=True):
        several = f"[{', '.join(config.benchmark)}]" if name == "benchmark" else "null"
        option = given.get(name, chosen.get(name, several))
        yield _line(name, option, ", ".join(options(name)), name in given)
        inside = NEEDED.get(f"{name}={option}", {})
        written |= {name, *inside}
        for key, value in inside.items():
            yield f"{key}: {given.get(key, value)}"
    yield "\n# The run."
    hints = get_type_hints(known.schema_of(SCHEMA))
    alone = [name for name in hints if not helps.inner_of(hints[name]) and name not in groups]
    for name in ("rollout_len", *alone):
        value = config.rollout.max_tokens if name == "rollout_len" else getattr(config, name)
        written.add(name)
        yield _line(name, given.get(name, as_typed(value)), texts.get(name, ""), name in given)
    if rest := [key for key in given if key not in written]:
        yield "\n# Settings of the groups."
        yield from (_line(key, given[key], texts.get(key, ""), True) for key in rest)


def _line(key: str, value: str, comment: str, is_set: bool) -> str:
    line = f"{'' if is_set else '# '}{key}: {value}"
    return f"{line:<34}  # {comment}" if comment else line
