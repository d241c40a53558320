"""Converts composed yaml to a typed configuration; nothing else does."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from esr_cli.base import files
from esr_cli.config import misfit, saved_yaml
from esr_cli.config.errors import ConfigError, did_you_mean, need_moderate
from esr_cli.config.schema import by_name

Schema = TypeVar("Schema")
# Exported because the command line must not import omegaconf.
CompositionError = OmegaConfBaseException
KEY = "\n    full_key: "
UNKNOWN = re.compile(r"Could not override '([^']+)'[^+]*(?:\+(.*))?", re.S)
UNREADABLE = re.compile(r"Error parsing override '(.*)'$")
SEVERAL = re.compile(r"Ambiguous value for argument '(.*)'$")
UNFIT = re.compile(r"Error merging override (?:\++)?(.*)$")
FORCED = re.compile(r"force-add of config groups is not supported: '(.*)'$")
BEGINS = re.compile(r"(\\*)\$\{")
MISSING = re.compile(r"Could not (?:load|find) '([^']+)/([^/']+)'")


def read(tree: Any, schema: type[Schema]) -> Schema:
    """Converts the composed tree to `schema`; raises `ConfigError` for bad keys or values."""
    try:
        plain: Any = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from None
    assert isinstance(plain, dict)
    # A command-line alias of rollout.max_tokens, which already interpolates it.
    plain.pop("rollout_len", None)
    _refuse_unknown(plain, schema, prefix="")
    return typed(plain, schema)


def typed(plain: dict[str, Any], schema: type[Schema]) -> Schema:
    """Converts a plain mapping to `schema`; raises `ConfigError` if a value has a wrong type or
    is out of bounds.

    Texts are taken as they are: `${…}` in them is not resolved, as the mapping may come from a
    file of a stranger's.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), _escaped(plain))
        need_moderate(OmegaConf.to_container(merged))
        return OmegaConf.to_object(merged)  # type: ignore[return-value]
    except (OmegaConfBaseException, OverflowError) as error:
        raise ConfigError(misfit.line(plain, schema) or one_line(error)) from None


def as_plain(config: Any) -> dict[str, Any]:
    """Converts the configuration to nested plain mappings."""
    return dataclasses.asdict(config)


def write_yaml(config: dict[str, Any], path: Path) -> None:
    """Writes a plain mapping as yaml, atomically."""
    files.write_text(path, saved_yaml.write(config))


def read_yaml(path: Path, may_be_empty: bool = False) -> dict[str, Any]:
    """Reads a yaml file as a plain mapping, without resolving anything; see `saved_yaml`."""
    return saved_yaml.read(path, may_be_empty)


def one_line(error: Exception, known: Callable[[], Iterable[str]] = list) -> str:
    """Rewrites an OmegaConf or Hydra error as one line, without internals.

    `known` returns the names of all settings.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line for line in lines if line.startswith("full_key: ")), "")
    name = key.removeprefix("full_key:").strip()
    if lines and "submitit" in lines[0]:
        return "cluster: hydra-submitit-launcher is not installed; pip install 'esr-cli[slurm]'"
    if unknown := UNKNOWN.match(str(error)):
        name, given = unknown.groups()
        names, parts = list(known()), name.split(".")
        remedy = did_you_mean(name, names) or "esr COMMAND --help shows what there is"
        if name in names and len(parts) > 1 and parts[1] in files.options(parts[0]):
            return f"{given or name}: {parts[1]} is not chosen; give {parts[0]}=[…,{parts[1]}], too"
        return f"{given or name}: no such setting; {remedy}"
    if lines and (unreadable := UNREADABLE.match(lines[0])):
        return _unreadable(unreadable[1], known)
    missing = MISSING.search(lines[0]) if lines else None
    if missing:
        group, chosen = missing.groups()
        options = files.options(group)
        near = did_you_mean(chosen, options, f"{group}=")
        message = f"{group}={chosen}: no such option"
        message += f"; there are {', '.join(options)}" if options else "; leave it out"
        return f"{message}; {near}" if near else message
    if lines and (forced := FORCED.match(lines[0])):
        return f"{forced[1]}: an option is chosen without a plus, {forced[1].lstrip('+')}"
    if lines and (unfit := UNFIT.match(lines[0])):
        key = unfit[1].partition("=")[0]
        return f"{unfit[1]}: is no value for it; esr COMMAND --help={key} says what is"
    if lines and (several := SEVERAL.match(lines[0])):
        given = re.sub("['\"]", "", several[1])
        name, _, value = given.partition("=")
        return (
            f"{given}: several values are a sweep, -m {given}; a comma in a text needs "
            f"two quotes, {name}=\"'{value}'\""
        )
    # The value in the message may hold line breaks.
    whole = str(error).partition(KEY)[0].strip()
    return f"{name}: {whole}" if name else (lines[0] if lines else type(error).__name__)


def _unreadable(given: str, known: Callable[[], Iterable[str]]) -> str:
    key, sign, value = given.partition("=")
    if sign:
        return f"{given}: cannot be read; in the shell, quote the value twice: {key}=\"'{value}'\""
    names = list(known())
    remedy = f"give it a value, {key}=…" if key in names else did_you_mean(key, names)
    return f"{given}: settings are given as key=value; {remedy or 'esr COMMAND --help shows them'}"


def _escaped(value: Any) -> Any:
    """Nested settings in which OmegaConf sees no interpolation."""
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    # Backslashes before an escape are escapes themselves.
    return BEGINS.sub(r"\1\1\\${", value) if isinstance(value, str) else value


def _refuse_unknown(plain: dict[str, Any], schema: Any, prefix: str) -> None:
    hints = get_type_hints(schema)
    for key, value in plain.items():
        if key not in hints:
            known = [*hints, "rollout_len"] if not prefix else list(hints)
            remedy = did_you_mean(str(key), known, prefix) or f"known: {', '.join(known)}"
            raise ConfigError(f"{prefix}{key}={value}: no such setting; {remedy}")
        if not isinstance(value, dict):
            continue
        if dataclasses.is_dataclass(hints[key]):
            _refuse_unknown(value, hints[key], f"{prefix}{key}.")
        elif inner := by_name(hints[key]):
            for name, entry in value.items():
                where = f"{prefix}{key}.{name}"
                if not isinstance(entry, dict):
                    first = next(iter(get_type_hints(inner)))
                    raise ConfigError(f"{where}={entry}: holds settings; give {where}.{first}=…")
                _refuse_unknown(entry, inner, f"{where}.")
