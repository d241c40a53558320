"""Writes settings as YAML and reads YAML that strangers may have written.

A file is plain data: nothing in it is interpolated, resolved or built, and an alias, which can
stand for billions of values, or deep nesting is refused.
"""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from esr_cli.base import reading
from esr_cli.config.errors import ConfigError

MOST_BYTES, MOST_DEPTH = 1 << 18, 30
# YAML 1.1 reads 1e-5 as text.
FLOAT = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$")
TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """YAML's plain values. Dates stay texts."""

    depth = 0
    # A copy, since a resolver that is added or removed changes the mapping.
    yaml_implicit_resolvers: ClassVar = {
        first: [each for each in known if each[0] != TIMESTAMP]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Counts the depth, and refuses aliases."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*) is not allowed in it")
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise yaml.YAMLError("it is nested too deeply")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuses a key that stands in a mapping twice: one of its values would be lost."""
        seen: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise _TwiceError(name, seen[name], (key, value))
            seen[name] = key, value
        return super().construct_mapping(node, deep=deep)


class _TwiceError(yaml.MarkedYAMLError):
    """A key that stands in a mapping twice."""

    def __init__(
        self, name: str, first: tuple[yaml.Node, yaml.Node], second: tuple[yaml.Node, yaml.Node]
    ) -> None:
        remedy = "keep one of them"
        if isinstance(first[1], yaml.MappingNode) != isinstance(second[1], yaml.MappingNode):
            remedy += f"; beside an option, {name}.KEY: VALUE sets one of its settings"
        line = first[0].start_mark.line + 1
        problem = f"the key {name} stands in it twice, first in line {line}; {remedy}"
        super().__init__(problem=problem, problem_mark=second[0].start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that `_Loader` would read as something else; writes no alias."""

    def ignore_aliases(self, data: Any) -> bool:
        """Repeats a value instead."""
        return True


for kind in (_Loader, _Dumper):
    kind.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))


def write(settings: dict[str, Any]) -> str:
    """The settings as YAML, in their order."""
    return yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def line(key: str, value: Any, text: str) -> str:
    """A setting as a line of YAML; its value is written as in `text` if it is read back so."""
    whole = f"{key}: {text}"
    with contextlib.suppress(yaml.YAMLError, ValueError):
        if text.isprintable() and repr(yaml.load(whole, Loader=_Loader)) == repr({key: value}):
            return whole
    return yaml.dump(
        {key: value}, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=math.inf
    ).strip()[1:-1]  # fmt: skip


def read(path: Path, may_be_empty: bool = False) -> dict[str, Any]:
    """The settings in a file, exactly as they are written there.

    Raises `ConfigError` with one line if it holds something else, or nothing.
    """
    text = reading.text(path, MOST_BYTES)
    try:
        settings = _plain(yaml.load(text, Loader=_Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        if isinstance(error, _TwiceError):
            raise ConfigError(f"{where}: {reason}") from None
        raise ConfigError(f"{where}: is broken YAML ({reason})") from None
    except (ValueError, TypeError) as error:  # such as a number of thousands of digits
        raise ConfigError(f"{path}: is broken YAML ({error})") from None
    if settings is None and may_be_empty:
        return {}
    if not settings or not isinstance(settings, dict):
        raise ConfigError(f"{path}: holds no settings")
    return settings


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return reading.whole(value)
    raise ValueError(f"a {type(value).__name__} is no setting")
