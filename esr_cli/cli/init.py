"""`esr init`: writes a file of settings to edit, with every top-level setting and its comment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_type_hints

from esr_cli.base.files import options
from esr_cli.base.writing import open_file
from esr_cli.cli import help as helps
from esr_cli.cli import known
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
HEAD = """# Settings of a run:  esr train config={name}      (esr check config={name} tries them)
# A line without # sets something; what is typed after it on the command line wins.
# esr train --help=KEY explains a setting, esr train --help=all lists every one.
"""


def run(arguments: Sequence[str]) -> None:
    """Writes the file; its path is `file=`, and other arguments become settings in it.

    Raises `ConfigError` for an unknown setting and for a file that is there already.
    """
    given = {}
    for argument in arguments:
        key, sign, value = argument.lstrip("+").partition("=")
        if not sign:
            raise ConfigError(f"{argument}: esr init takes key=value, such as pair=own")
        given[key] = value
    path = Path(given.pop("file", NAME)).expanduser()
    names = known.names("train", SCHEMA)
    for key, value in given.items():
        if key not in names:
            hint = did_you_mean(key, names) or "esr train --help=all lists them"
            raise ConfigError(f"{key}={value}: no such setting; {hint}")
        if options(key) and value not in options(key):
            raise ConfigError(f"{key}={value}: no such option; there are {', '.join(options(key))}")
    text = HEAD.format(name=path) + "\n".join(_lines(given)) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_file(path, os.O_EXCL) as file:
            file.write(text.encode())
    except FileExistsError:
        raise ConfigError(f"file={path}: is there already; name another, file=NAME") from None
    except OSError as error:
        raise ConfigError(f"file={path}: cannot be written ({error.strerror})") from None
    print(f"{path}: edit it, then\nesr check config={path}\nesr train config={path}")


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
        shown = "64" if value == "???" else helps.in_words(value)
        written.add(name)
        yield _line(name, given.get(name, shown), texts.get(name, ""), name in given)
    if rest := [key for key in given if key not in written]:
        yield "\n# Settings of the groups."
        yield from (_line(key, given[key], texts.get(key, ""), True) for key in rest)


def _line(key: str, value: str, comment: str, is_set: bool) -> str:
    line = f"{'' if is_set else '# '}{key}: {value}"
    return f"{line:<34}  # {comment}" if comment else line
