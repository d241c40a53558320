"""Arguments as Hydra's grammar takes them: what it cannot read is quoted, and flags come first."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from esr_cli.execution import jobs

# A setting with its value; spaces around the sign are no part of either.
SETTING = re.compile(r"\s*([+~]*[\w@./-]*\w)\s*=\s*(.*?)\s*", re.S).fullmatch
# What separators leave of a value: quoted texts, items such as benchmark=[a,b], and others.
PART = re.compile(
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\[\]{}(),'"]*=\[[^\[\]]*\]|[^\[\]{}(),'"]+""", re.S
)
# Hydra's grammar reads these without quotes, if no more than spaces stand among them.
READABLE = re.compile(r"[\w/\-\\+.$%*@?|: \t]*", re.A).fullmatch
FUNCTION = re.compile(r"\w+\(.*\)", re.S).fullmatch
# Hydra's flags that take the next word.
WITH_VALUE = (
    "-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd",
    "--config-dir", "--experimental-rerun",
)  # fmt: skip


def readable(argument: str) -> str:
    """The argument in the form that Hydra reads: `quoted`, then `normalized`."""
    return normalized(quoted(argument))


def normalized(argument: str) -> str:
    """Rewrites a key that may be given with or without a plus to the form that Hydra accepts.

    A sweep distinguishes its runs by the exact form of the key. `out` was the name of `run_dir` in
    some commands before 0.2.
    """
    argument = re.sub(r"^\+*out=", "run_dir=", argument)
    argument = re.sub(r"^\+*rollout_len=", "rollout_len=", argument)
    # `lengths` is also a group of esr train, whose options are words, not numbers.
    argument = re.sub(r"^\+*lengths=(?=\[)", "rollout_lens=", argument)
    argument = re.sub(r"^\+*lengths=(\d+|full)$", r"rollout_lens=[\1]", argument)
    argument = re.sub(r"^\++recipe=", "recipe=", argument)
    argument = re.sub(r"^recipe=null$", "~recipe", argument)  # no recipe is no option
    argument = re.sub(r"^\+*pair\.teachers(?=[.=])", "++pair.teachers", argument)
    return re.sub(r"^\+*(sweep|cluster)=", r"+\1=", argument)


def spaced(argument: str) -> str:
    """A setting without the spaces around its sign and value; other arguments as they are."""
    found = SETTING(argument)
    return f"{found[1]}={found[2]}" if found else argument


def quoted(argument: str) -> str:
    """Quotes what Hydra's grammar cannot read otherwise, also in lists, mappings and sweeps: texts
    with `=`, `~` or letters that are not ASCII, and any title.

    Texts in quotes and interpolations are left as they are. `~/` is the home folder. Commas of a
    text with `=`, such as the name of a run's folder, separate nothing.
    """
    key, sign, value = argument.partition("=")
    if not sign or not value or "${" in value:
        return argument
    if value.startswith("~/"):
        value = os.path.expanduser(value)
    if key == "title":
        return argument if value[0] in "'\"[{" else f"{key}={jobs.text(value)}"
    if FUNCTION(value):
        return f"{key}={PART.sub(_argument, value)}"
    one = "=" in value or (re.search(r"[()]", value) and not re.search(r"[\[\]{},]", value))
    if one and value[0] not in "'\"[{" and not re.search("['\"]", value):
        return f"{key}={jobs.text(value)}"  # runs/lab/rollout_len=64,seed=1 or runs/a (copy)
    # The colon of a mapping separates, too.
    return f"{key}={PART.sub(_mapped if '{' in value else _part, value)}"


def _mapped(found: re.Match[str]) -> str:
    if found[0][0] in "'\"":
        return found[0]
    return ":".join(PART.sub(_part, each) for each in found[0].split(":"))


def _argument(found: re.Match[str]) -> str:
    """A part of a function's arguments, such as step=2, which has a name."""
    return found[0] if READABLE(found[0].replace("=", "", 1)) else _part(found)


def _part(found: re.Match[str]) -> str:
    text = found[0].strip()
    if text[:1] in ("'", '"', "") or READABLE(text):
        return found[0]
    return found[0].replace(text, jobs.text(text))


def flags_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with flags before settings, wherever they were typed: `seed=0,1 -m`.

    Hydra refuses a setting after a flag that follows a setting.
    """
    flags, settings, after = list[str](), list[str](), ""
    for argument in arguments:
        is_flag = argument.startswith("-") or after in WITH_VALUE
        (flags if is_flag else settings).append(argument)
        after = argument
    return [*flags, *settings]
