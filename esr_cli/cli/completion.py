"""`esr completion bash|zsh`: the completion scripts, and the words that they request.

Hydra's own completion composes the configuration at every TAB, which takes about a second. This one
reads only the dataclasses and the names of the files in conf.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from esr_cli.base.files import conf_dir, options
from esr_cli.config.errors import ConfigError
from esr_cli.config.schema import by_name

BASH = """_esr() {
    local current="${COMP_LINE:0:COMP_POINT}" reply
    current="${current##* }"
    mapfile -t reply < <("${COMP_WORDS[0]}" completion words "${COMP_WORDS[1]}" "$current" \\
        "$COMP_CWORD" 2>/dev/null)
    # Bash splits words at = and :, and replaces only the text after the last of them.
    local kept="${current%"${current##*[=:]}"}"
    COMPREPLY=("${reply[@]#"$kept"}")
    [[ ${#reply[@]} -eq 1 && ${reply[0]} =~ [=./]$ ]] && compopt -o nospace
}
complete -o nosort -F _esr esr
"""
ZSH = """#compdef esr
_esr() {
    local -a reply
    reply=("${(@f)$("${words[1]}" completion words "${words[2]}" "${PREFIX}" \\
        $((CURRENT - 1)) 2>/dev/null)}")
    reply=(${reply:#})
    compadd -S '' -- ${(M)reply:#*[=./]}
    compadd -- ${reply:#*[=./]}
}
compdef _esr esr
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH}
# Groups that are added with a plus, and so are in no defaults list.
ADDED = {"train": ("sweep", "cluster"), "eval": ("cluster",)}
FILES = {
    "run", "runs", "run_dir", "resume", "a", "b", "out", "model", "generations", "data_dir",
    "pair.student.path", "pair.teacher.path",
}  # fmt: skip
LENGTHS = ("full", "auto", "16", "32", "64", "100")
# Maps a command to the name of its schema in esr_cli.config.
Commands = Mapping[str, str]


def answer(arguments: list[str], commands: Commands) -> str:
    """The output of `esr completion ARGUMENTS`; raises ConfigError for an unknown shell."""
    if arguments[:1] == ["words"] and len(arguments) == 4 and arguments[3].isdecimal():
        command, current, place = arguments[1:4]
        return "".join(f"{each}\n" for each in words(command, current, int(place), commands))
    if len(arguments) == 1 and arguments[0] in SCRIPTS:
        return SCRIPTS[arguments[0]]
    raise ConfigError('completion: name bash or zsh, as in: eval "$(esr completion bash)"')


def words(command: str, current: str, place: int, commands: Commands) -> list[str]:
    """The completions of the word `current` at position `place` after `esr`."""
    if place <= 1:
        candidates = [*commands, "completion"]
    elif command == "completion":
        candidates = list(SCRIPTS)
    elif command == "teacher" and place == 2:
        candidates = ["serve"]
    elif command not in commands:
        return []
    else:
        plus, key, sign, value = re.fullmatch(r"(\+*)([^=]*)(=?)(.*)", current, re.S).groups()  # type: ignore[union-attr]
        schema = commands[command]
        if sign:
            # Complete the last item of a list or a sweep.
            done = value[: max(value.rfind(","), value.rfind("[")) + 1]
            items = _values(command, key, schema, value[len(done) :])
            candidates = [f"{plus}{key}={done}{each}" for each in items]
        else:
            candidates = [f"{plus}{each}" for each in _keys(command, key, schema)]
            candidates += ["-m", "--help"]
    return [each for each in candidates if each.startswith(current)]


def settings(command: str, schema: str) -> list[str]:
    """The dotted names of all settings and groups of a command."""
    names = [*groups(command), *_dotted_names(_schema(schema), "")]
    if "rollout" in names:
        names.append("rollout_len")
    if command == "train":
        names.append("nodes")  # of the launcher
    return list(dict.fromkeys(names))


def _dotted_names(schema: Any, prefix: str) -> Iterator[str]:
    for name, hint in get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            yield from _dotted_names(hint, f"{prefix}{name}.")
        elif inner := by_name(hint):
            for option in options(name):
                yield from _dotted_names(inner, f"{prefix}{name}.{option}.")
        else:
            yield f"{prefix}{name}"


def _keys(command: str, key: str, schema: str) -> list[str]:
    """Settings and groups, completed up to the next dot."""
    parent = key[: key.rfind(".") + 1]
    rest = [name[len(parent) :] for name in settings(command, schema) if name.startswith(parent)]
    parts = [name.partition(".") for name in rest]
    return list(dict.fromkeys(f"{parent}{head}{dot or '='}" for head, dot, _ in parts))


def _values(command: str, key: str, schema: str, value: str) -> list[str]:
    if key == "rollout_len":
        return list(LENGTHS)
    if key in groups(command):
        return options(key)
    if key in FILES:
        paths = glob.glob(f"{glob.escape(os.path.expanduser(value))}*")
        return [f"{path}/" if Path(path).is_dir() else path for path in sorted(paths)]
    hint: Any = _schema(schema)
    for name in key.split("."):
        hint = get_type_hints(hint).get(name) if dataclasses.is_dataclass(hint) else None
    return ["true", "false"] if hint is bool else []


def groups(command: str) -> list[str]:
    """The config groups of a command."""
    names = list(ADDED.get(command, ()))
    text = (conf_dir() / f"{command}.yaml").read_text()
    for name, option in re.findall(r"^  - (\w+)(?:: (\w+))?$", text, re.M):
        if option:
            names.append(name)
        elif name != "_self_":
            names += groups(name)
    return names


def _schema(name: str) -> Any:
    import esr_cli.config

    return getattr(esr_cli.config, name)
