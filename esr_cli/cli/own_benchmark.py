"""`benchmark=path/to/my.yaml`: a benchmark of one's own, from a file outside the package.

The file has the settings of `conf/benchmark/*.yaml`. It becomes an option of the group `benchmark`
before Hydra composes anything, so it works wherever an option does: alone, in lists and in sweeps.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from esr_cli.base.files import options

# The items of a list or a sweep: quoted ones, or what separators leave.
ITEM = re.compile(r"""'[^']*'|"[^"]*"|[^\[\](),'"]+""")
OPTION = re.compile(r"(\+*benchmark=)(.*)", re.S)
NAME = re.compile(r"[A-Za-z0-9_-]+").fullmatch
# An interpolation may name another setting. Anything else, nested ones too, could read the
# environment, and what it holds would stand in prompts and in records.
PLAIN = re.compile(r"\$\{(?:oc\.select:)?[\w.]+\}")
# Settings that name files, which may stand beside the file itself.
FILES = ("files", "answers")


def located(argument: str) -> str:
    """An argument in which each file of a benchmark is named so that Hydra finds it; see `stored`.

    Hydra would look for a path with `..` among its own files.
    """
    chosen = OPTION.match(argument)
    if not chosen:
        return argument

    def named(item: re.Match[str]) -> str:
        text = _bare(item[0])
        far = text.startswith("~") or ".." in Path(text).parts
        return os.path.realpath(os.path.expanduser(text)) if far and _is_file(text) else item[0]

    return chosen[1] + ITEM.sub(named, chosen[2])


def stored(arguments: list[str]) -> dict[str, str]:
    """Makes the named files options of the group `benchmark`; returns their names by file.

    Raises `ConfigError` if a file is missing, or holds no benchmark with a name of its own.
    """
    found: dict[str, str] = {}
    for text in _files(arguments):
        if text in found:
            continue
        name, settings = _read(text)
        if name in (*options("benchmark"), *found.values()):
            _refuse(text, f"the name {name} is taken; give the file another, or name: in it")
        found[text] = name
        _store(text, settings, f"benchmark.{name}")
    return found


def opened(arguments: list[str], stored: dict[str, str]) -> list[str]:
    """The arguments, in which settings of stored benchmarks may be ones that no file sets."""
    own = re.compile(rf"^\+*(?=benchmark\.({'|'.join(stored.values())})\.)")
    return [own.sub("++", each, count=1) if stored else each for each in arguments]


def _store(text: str, settings: dict[str, Any], package: str) -> None:
    # Imported late, as most commands name no file.
    from hydra.core.config_store import ConfigStore

    folder, _, file = re.sub("/+", "/", f"benchmark/{text}").rpartition("/")
    ConfigStore.instance().store(group=folder, name=file, node=settings, package=package)


def _files(arguments: list[str]) -> Iterator[str]:
    for argument in arguments:
        if chosen := OPTION.match(argument):
            for item in ITEM.findall(chosen[2]):
                if _is_file(item):
                    yield _bare(item)


def _is_file(item: str) -> bool:
    return _bare(item).endswith((".yaml", ".yml"))


def _bare(item: str) -> str:
    return item.strip().strip("'\"")


def _read(text: str) -> tuple[str, dict[str, Any]]:
    from esr_cli.base.reading import ConfigError
    from esr_cli.config import BenchmarkConfig, gate
    from esr_cli.config.errors import did_you_mean

    path = Path(text)
    try:
        settings = gate.read_yaml(path)
    except ConfigError as error:
        reason = str(error).removeprefix(f"{path}:").lstrip()
        if line := re.match(r"(\d+): ", reason):
            _refuse(text, f"line {line[1]}: {reason[line.end() :]}")
        _refuse(text, f"{reason}; name a yaml file with the settings of a benchmark")
    name = settings.pop("name", path.stem)
    if not isinstance(name, str) or not NAME(name):
        _refuse(text, f"name={name}: a name is of letters, digits, - and _; give name: in it")
    known = [field.name for field in dataclasses.fields(BenchmarkConfig)]
    for key in settings:
        if key not in known:
            remedy = did_you_mean(key, known) or f"known: name, {', '.join(known)}"
            _refuse(text, f"{key}: no such setting; {remedy}")
    if "kind" not in settings:
        _refuse(text, "it has no kind; give kind: math, code, tools, words or lab")
    if repr(settings).count("${") != len(PLAIN.findall(repr(settings))):
        _refuse(text, "an interpolation may name a setting, ${…}, and nothing else; write it out")
    for key in FILES:
        if isinstance(settings.get(key), list):
            settings[key] = [_beside(path, each) for each in settings[key]]
    return name, settings


def _beside(path: Path, file: Any) -> Any:
    """A file that stands beside the benchmark's own; others are searched for below data_dir."""
    near = os.path.abspath(path.parent / file) if isinstance(file, str) else ""
    return near if os.path.exists(near) else file


def _refuse(text: str, message: str) -> NoReturn:
    from esr_cli.config import ConfigError

    raise ConfigError(f"benchmark={text}: {message}")
