"""`esr COMMAND --help`: the settings of a command, from conf and its comments."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_type_hints

import yaml

from esr_cli.base.files import conf_dir, options
from esr_cli.base.words import as_typed
from esr_cli.cli import known
from esr_cli.config.errors import ConfigError, did_you_mean
from esr_cli.config.schema import by_name

EXAMPLES = {
    "train": "esr train +rollout_len=64", "check": "esr check +rollout_len=64",
    "eval": "esr eval run=RUN_DIR", "compare": "esr compare a=RUN_DIR b=RUN_DIR",
    "probe": "esr probe run=RUN_DIR probe=all", "report": "esr report runs=runs/lab",
    "reproduce": "esr reproduce scale=lab quick=true", "bench": "esr bench lengths=[16,64,full]",
    "teacher": "esr teacher serve pair=lab", "lab": "esr lab run_dir=my_pair",
    "push": "esr push run=RUN_DIR repo=OWNER/NAME", "env": "esr env > versions.txt",
}  # fmt: skip
# What is said of a command below its settings, beside what is said of all.
NOTES = {
    "train": (
        "resume=RUN_DIR   goes on with a run that did not end: its own settings; steps may grow",
        "-m KEY=1,2,3     one run for each value, or combination of values; the same command again",
        "                 skips what is complete and resumes the rest",
    ),
}  # fmt: skip
# The help of what needs no configuration.
SMALL = {
    "init": """esr init: writes a file of settings to edit, each with its comment

usage: esr init [key=value ...]          esr init pair=own task=jsonl

  file=esr.yaml              the file; it must not be there
  KEY=VALUE                  any setting or group of esr train: a line that is set in the file

esr train config=FILE trains with it, esr check config=FILE tries it
""",
    "completion": """esr completion: prints the script that completes commands and settings at TAB

usage: eval "$(esr completion bash)"          in ~/.bashrc; in ~/.zshrc with zsh
""",
    "version": """esr version: prints the versions of esr, Python and the packages that matter

usage: esr version          esr --version
""",
}
# Commands that take all settings of another one.
LIKE = {"check": "train", "probe": "train", "bench": "train", "teacher": "train"}
WIDEST = 100
FOLLOWS = re.compile(r"\$\{oc\.(select|env):\w+,([^{}]*)\}")


def wanted(arguments: list[str]) -> str | None:
    """What `--help` in the arguments asks for: "", `all` or a key; None without it."""
    for each in arguments:
        if each in ("--help", "-h"):
            return ""
        if each.startswith("--help="):
            return each.removeprefix("--help=").lstrip("+")
    return None


def page(command: str, schema: str, asked: str) -> str:
    """The help of a command: `asked` is "", `all`, or a setting or group.

    Raises `ConfigError` if there is no such setting.
    """
    width = min(WIDEST, shutil.get_terminal_size().columns)
    if asked in ("", "all"):
        lines = _overview(command, schema, whole=asked == "all")
    else:
        lines = _one(command, schema, asked)
    return "\n".join(part for line in lines for part in _wrapped(line, width)) + "\n"


def _overview(command: str, schema: str, whole: bool) -> Iterator[str]:
    texts, values = known.meanings(command), effective(command)
    yield f"esr {command}: {known.about(conf_dir() / f'{command}.yaml').partition(': ')[2]}"
    yield ""
    verb = "teacher serve" if command == "teacher" else command
    yield f"usage: esr {verb} [key=value ...] [-m]          {EXAMPLES.get(command, '')}".rstrip()
    yield ""
    base = known.schema_of("TrainConfig") if command in LIKE and command != "check" else None
    # Without those that the command has in its own words.
    theirs = set(get_type_hints(base)) - set(defaults(command)) if base and not whole else set()
    theirs |= set(known.groups(LIKE[command])) if theirs else set()
    hints = get_type_hints(known.schema_of(schema))
    groups = [name for name in known.groups(command) if name not in theirs or whole]
    left_out = {*theirs, *groups}
    own = [name for name in hints if not inner_of(hints[name]) and name not in left_out]
    if "rollout" in hints and not theirs:
        own.insert(0, "rollout_len")
    yield from _settings("", own, schema, texts, values)
    if groups:
        yield ""
        yield "groups: GROUP=OPTION chooses, GROUP.KEY=VALUE sets one of its settings"
        for name in groups:
            yield _row(f"{name}={chosen(command).get(name, '')}", _choice(name))
    if whole:
        for name in dict.fromkeys([*(name for name in hints if inner_of(hints[name])), *groups]):
            yield from _group(name, schema, texts, values)
    yield ""
    if theirs:
        yield f"and every setting of esr {LIKE[command]} (esr {LIKE[command]} --help)"
    yield from NOTES.get(command, ())
    yield "config=FILE      settings from a yaml file of your own; those typed win"
    yield "--help=all       every setting;  --help=KEY one of them, or a group: --help=tune"
    yield "--cfg job        the settings that result from a command line;  --hydra-help Hydra's own"


def _choice(group: str) -> str:
    """The options of a group, as far as they fit into a line."""
    shown, every = "", options(group)
    for count, each in enumerate(every, 1):
        longer = f"{shown}, {each}" if shown else each
        if len(longer) > 60 and count < len(every):
            return f"{shown}, … ({len(every)})"
        shown = longer
    return shown


def _one(command: str, schema: str, asked: str) -> Iterator[str]:
    """A setting with its type, default and choices, or a group with its settings and options."""
    texts, values = known.meanings(command), effective(command)
    if asked in known.groups(command) or inner_of(known.kind(schema, asked)):
        yield from _group(asked, schema, texts, values)
        if found := options(asked):
            yield ""
            for option in found:
                yield _row(f"{asked}={option}", known.about(conf_dir() / asked / f"{option}.yaml"))
        return
    key = "rollout.max_tokens" if asked == "rollout_len" else asked
    inside, name = known.place(schema, key)
    if inside is None:
        hint = did_you_mean(asked, known.names(command, schema))
        raise ConfigError(f"--help={asked}: no such setting of esr {command}; {hint}".rstrip("; "))
    parts = key.split(".")
    short = f"{parts[0]}.{parts[-1]}" if parts[0] in known.NAMED else key
    meaning = texts.get("rollout_len" if asked == "rollout_len" else short, "")
    yield f"{asked}   {meaning}".rstrip()
    yield f"  type     {kind_in_words(get_type_hints(inside)[name])}"
    default = _default(inside, name, parts, values)
    if default is not None:
        yield f"  default  {_shown(default)}"
    if choices := known.choices(schema, key):
        yield f"  choices  {', '.join(choices)}"
    yield ""
    yield " ".join((inspect.getdoc(inside) or "").split())


def _group(
    name: str, schema: str, texts: Mapping[str, str], values: Mapping[str, Any]
) -> Iterator[str]:
    hint = get_type_hints(known.schema_of(schema)).get(name)
    inner = inner_of(hint)
    if inner is None:
        return
    yield ""
    yield f"{name}: " + " ".join((inspect.getdoc(inner) or "").split("\n\n")[0].split())
    prefix = f"{name}.NAME." if name in known.NAMED else f"{name}."
    yield from _fields(inner, prefix, texts, values.get(name))


def _fields(inner: Any, prefix: str, texts: Mapping[str, str], given: Any) -> Iterator[str]:
    """A line for each setting of a dataclass and of those in it."""
    hints = get_type_hints(inner)
    for each in hints:
        value = given[each] if isinstance(given, dict) and each in given else _standard(inner, each)
        if deeper := inner_of(hints[each]):
            by = "" if dataclasses.is_dataclass(hints[each]) else "NAME."
            yield from _fields(deeper, f"{prefix}{each}.{by}", texts, value)
        else:
            meaning = texts.get(f"{prefix.replace('NAME.', '')}{each}", "")
            yield _row(f"{prefix}{each}={_shown(value)}", meaning)


def _settings(
    prefix: str, names: list[str], schema: str, texts: Mapping[str, str], values: Mapping[str, Any]
) -> Iterator[str]:
    inside = known.schema_of(schema)
    for name in names:
        value = values.get(name, "???" if name == "rollout_len" else None)
        if name not in values and name != "rollout_len":
            value = _standard(inside, name)
        shown = f"{prefix}{name}=" + ("N" if value == "???" else _shown(value))
        yield _row(shown, texts.get(f"{prefix}{name}", ""))


def _default(inside: Any, name: str, parts: list[str], values: Mapping[str, Any]) -> Any:
    found: Any = values
    for part in parts:
        found = found.get(part) if isinstance(found, dict) else None
    return found if found is not None else _standard(inside, name)


def _standard(inside: Any, name: str) -> Any:
    return standard(next(each for each in dataclasses.fields(inside) if each.name == name))


def _shown(value: Any) -> str:
    """A default as it is typed; what follows another setting, or the environment, in plain."""
    return FOLLOWS.sub(lambda found: found[2] or "null", as_typed(value))


def _row(left: str, right: str) -> str:
    return f"  {left:<26} {right}".rstrip() if len(left) <= 26 else f"  {left}  {right}".rstrip()


def _wrapped(line: str, width: int) -> list[str]:
    """The line in lines of at most `width`, those after the first below its description."""
    if len(line) <= width:
        return [line]
    indent = 29 if line.startswith("  ") else 2
    return textwrap.wrap(
        line, width, subsequent_indent=" " * indent, drop_whitespace=True, break_long_words=False,
        replace_whitespace=False, break_on_hyphens=False,
    )  # fmt: skip


def defaults(command: str) -> dict[str, Any]:
    """The defaults of a command in conf; the others are in the dataclasses."""
    found: dict[str, Any] = yaml.safe_load((conf_dir() / f"{command}.yaml").read_text())
    return found


def effective(command: str) -> dict[str, Any]:
    """The defaults of a command with those that it inherits and those of the chosen options."""
    found: dict[str, Any] = {}
    for each in defaults(command).get("defaults", []):
        if isinstance(each, str) and each != "_self_":
            found = _merged(found, effective(each))
    found = _merged(found, defaults(command))
    for group, option in chosen(command).items():
        path = conf_dir() / group / f"{option}.yaml"
        if path.is_file() and "@package _global_" not in path.read_text():
            inner = yaml.safe_load(path.read_text()) or {}
            found = _merged(found, {group: {option: inner} if group in known.NAMED else inner})
    return found


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for key, value in second.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged


def chosen(command: str) -> dict[str, str]:
    """The option of each group that a command begins with."""
    found: dict[str, str] = {}
    for each in defaults(command).get("defaults", []):
        if isinstance(each, str) and each != "_self_":
            found |= chosen(each)
        elif isinstance(each, dict):
            names = ((re.sub(r"^override /?", "", key), name) for key, name in each.items())
            found |= {group: as_typed(name) for group, name in names}
    return found


def inner_of(hint: Any) -> Any:
    """The dataclass of a setting, directly or as the value of a mapping; None for a value."""
    return hint if dataclasses.is_dataclass(hint) else by_name(hint) if hint else None


def standard(field: Any) -> Any:
    """The default of a dataclass's field; "" for one that holds settings."""
    if field.default is not dataclasses.MISSING:
        return field.default
    value = field.default_factory()
    return value if isinstance(value, list | dict) else ""


def kind_in_words(hint: Any) -> str:
    """The type of a setting, in words."""
    if hint is Any:
        return "number or text"
    text = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    text = text.replace("typing.", "").replace("| None", "or null").replace("NoneType", "null")
    return text.replace("str", "text").replace("bool", "true or false").replace("|", "or")
