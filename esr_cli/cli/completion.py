"""`esr completion bash|zsh`: the completion scripts, and the words that they request.

Hydra's own completion composes the configuration at every TAB, which takes about a second. This one
reads only the dataclasses and the names of the files in conf.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from pathlib import Path

from esr_cli.base.files import options
from esr_cli.cli import known
from esr_cli.config.errors import ConfigError

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
# Settings that name files or folders.
FILES = {
    "run", "runs", "run_dir", "resume", "a", "b", "model", "generations", "data_dir",
    "pair.student.path", "pair.teacher.path", "pair.student.chat_template",
    "pair.teacher.chat_template", "task.files", "task.against",
}  # fmt: skip
# Those that name files of settings; a benchmark may be one of one's own.
SETTINGS, ENDS = ("config", "file", "benchmark"), (".yaml", ".yml")
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
        candidates = [*commands, "completion", "help", "init", "--version"]
    elif command == "completion":
        candidates = list(SCRIPTS)
    elif command == "help":
        candidates = list(commands)
    elif command == "teacher" and place == 2:
        candidates = ["serve"]
    elif command not in (*commands, "init"):
        return []
    else:
        plus, key, sign, value = re.fullmatch(r"(\+*)([^=]*)(=?)(.*)", current, re.S).groups()  # type: ignore[union-attr]
        flags = ["--help"] if command == "init" else ["-m", "--help", "--version"]
        flags += [f"{each}=" for each in known.taken(command)]
        # A file of settings is one for esr train.
        command = "train" if command == "init" else command
        schema = commands[command]
        if sign:
            # Complete the last item of a list or a sweep.
            done = value[: max(value.rfind(","), value.rfind("[")) + 1]
            items = _values(command, key, schema, value[len(done) :])
            candidates = [f"{plus}{key}={done}{each}" for each in items]
        else:
            candidates = [f"{plus}{each}" for each in _keys(command, key, schema)]
            candidates += flags
    return [each for each in candidates if each.startswith(current)]


def _keys(command: str, key: str, schema: str) -> list[str]:
    """Settings and groups, completed up to the next dot."""
    parent = key[: key.rfind(".") + 1]
    names = known.names(command, schema)
    rest = [name[len(parent) :] for name in names if name.startswith(parent)]
    parts = [name.partition(".") for name in rest]
    return list(dict.fromkeys(f"{parent}{head}{dot or '='}" for head, dot, _ in parts))


def _paths(begun: str) -> list[str]:
    """The files and folders whose paths begin so, folders with a slash."""
    paths = glob.glob(f"{glob.escape(os.path.expanduser(begun))}*")
    return [f"{path}/" if Path(path).is_dir() else path for path in sorted(paths)]


def _values(command: str, key: str, schema: str, value: str) -> list[str]:
    if key == "--help":
        return ["all", *known.names(command, schema)]
    if key == "rollout_len":
        return list(LENGTHS)
    if key in SETTINGS:
        # Folders only where one is begun, so that the options of a group are not lost among them.
        begun = ["/"] if value or key not in known.groups(command) else []
        own = [each for each in _paths(value) if each.endswith((*ENDS, *begun))]
        return [*(options(key) if key in known.groups(command) else []), *own]
    if key in known.groups(command):
        return options(key)
    if key in FILES:
        return _paths(value)
    if choices := known.choices(schema, key):
        return list(choices)
    return ["true", "false"] if known.kind(schema, key) is bool else []
