"""`config=FILE`: settings from a yaml file, as if they were typed before the others.

pair: own                        # an option of a group, as on the command line
pair.student.path: my/student    # a setting, with dots or nested
tune: {rank: 16}
rollout_len: 64
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from esr_cli.base.files import options
from esr_cli.base.words import as_typed
from esr_cli.cli import known, typed
from esr_cli.config import gate, misfit
from esr_cli.config.errors import ConfigError, did_you_mean, need_choice
from esr_cli.execution import jobs

# What a run's own config.yaml has, and no command line.
NO_SETTING = ("config_hash",)
# Texts that need no quotes, so that a folder is named as if they were typed.
WORD = re.compile(r"[A-Za-z_][\w./-]*").fullmatch
NO_TEXT = ("true", "false", "null", "none", "inf", "nan", "yes", "no", "on", "off")


def expanded(command: str, schema: str, arguments: Sequence[str]) -> list[str]:
    """The arguments with each `config=FILE` replaced by what the file sets.

    What is typed wins, wherever it stands. Raises `ConfigError` for a file that cannot be read and
    for a setting that the command does not have.
    """
    found, left = list[str](), list[str]()
    for argument in arguments:
        key, _, value = argument.lstrip("+").partition("=")
        if key == "config":
            if not value.strip("'\""):
                raise ConfigError(f"{argument}: name a file, config=FILE; esr init writes one")
            found += _overrides(command, schema, Path(value.strip("'\"")).expanduser())
        else:
            left.append(argument)
    keys = [_key(each) for each in left]
    return [each for each in found if not any(_under(_key(each), key) for key in keys)] + left


def _key(argument: str) -> str:
    """The key of an argument; `lm@pair.student=NAME` fills pair.student."""
    return argument.lstrip("+~").partition("=")[0].rpartition("@")[2]


def _under(key: str, typed: str) -> bool:
    """Whether a setting is replaced by what is typed: itself, or a group with all in it."""
    return key == typed or key.startswith(f"{typed}.")


def _overrides(command: str, schema: str, path: Path) -> Iterator[str]:
    if not path.is_file():
        raise ConfigError(f"config={path}: no such file; esr init writes one")
    names, groups, given = set(known.names(command, schema)), known.groups(command), set[str]()
    for key, value in _flat(gate.read_yaml(path, may_be_empty=True), schema, ""):
        if key in NO_SETTING or (key == "run_dir" and value is None):
            continue
        if "${" in str(value):
            raise ConfigError(f"config={path}: {key}: ${{ in a file is not resolved; write it out")
        key = "rollout_len" if key == "rollout.max_tokens" else key
        if key in given:
            raise ConfigError(f"config={path}: {key} is set twice, nested or with dots; keep one")
        given.add(key)
        if key in groups:
            if isinstance(value, list) and len(value) > 1 and key not in typed.LISTS:
                raise ConfigError(f"config={path}: {key}: takes one option, {key}: {value[0]}")
            yield f"{key}={_option(value)}"
            continue
        parents = [name for name in names if name.startswith(f"{key}.")]
        if key not in names and not parents and not _is_open(schema, key):
            raise ConfigError(f"config={path}: {key}: {_instead(command, schema, key)}")
        hint = known.kind(schema, key)
        if hint is not None and (wrong := misfit.line(value, hint, key)):
            raise ConfigError(f"config={path}: {wrong}")
        choices = known.choices(schema, key)
        for each in value if isinstance(value, list) else [value]:
            if choices:
                need_choice(f"config={path}: {key}", each, choices)
        # Options of these groups leave out what they do not set.
        plus = "" if key in names and key.partition(".")[0] not in known.NAMED else "++"
        yield f"{plus}{key}={_written(value)}"


def _instead(command: str, schema: str, key: str) -> str:
    """What to write for a setting that there is not."""
    if name := typed.name_of(command, schema, key):
        return f"esr's name for it is {name}"
    near = did_you_mean(key, known.names(command, schema))
    return f"no such setting; {near or f'esr {command} --help=all lists them'}"


def _flat(tree: dict[str, Any], schema: str, prefix: str) -> Iterator[tuple[str, Any]]:
    """The settings of nested mappings by their dotted keys."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if not isinstance(value, dict):
            yield key, value
            continue
        if key in known.NAMED:
            # The settings of a benchmark are there if it is chosen; others bring all of theirs.
            yield key, [each for each in value if each in options(key)]
        yield from _flat(value, schema, f"{key}.")


def _is_open(schema: str, key: str) -> bool:
    """Whether a key lies in a mapping whose names are the user's: a shape, a teacher's name."""
    parts = key.split(".")
    above = (".".join(parts[:end]) for end in range(1, len(parts)))
    return any("dict[" in str(known.kind(schema, each)) for each in above)


def _option(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else as_typed(value)


def _written(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, str):
        plain = WORD(value) and value.lower() not in NO_TEXT
        return value if plain else jobs.text(value)
    if isinstance(value, list):
        return f"[{','.join(_written(each) for each in value)}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_written(each)}" for key, each in value.items()) + "}"
    return as_typed(value)
