"""The settings of a command for Python code: composed as on the command line, but not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

import esr_cli.config
from esr_cli.base.files import conf_dir
from esr_cli.cli import arguments, main, rewording, spelling
from esr_cli.config import ConfigError, gate


def value_of(argument: str) -> Any:
    """The value of `key=value` as Hydra reads it; what it cannot read is a text.

    Raises `ConfigError` for the several values of a sweep.
    """
    key, _, value = argument.partition("=")
    try:
        override = OverridesParser.create().parse_override(spelling.quoted(argument))
    except HydraException:
        return value
    if override.is_sweep_override():
        several = f"a list has brackets, {key}=[{value}]" if "(" not in value else "give one"
        raise ConfigError(f"{argument}: is several values; {several}")
    return override.value()


def settings(command: str, overrides: Sequence[str]) -> tuple[Any, list[str]]:
    """The typed settings of `esr COMMAND OVERRIDES`, and the overrides in Hydra's form.

    Raises `ConfigError` with the line that the command would print.
    """
    tree, given = _composed(command, overrides)
    return gate.read(tree, getattr(esr_cli.config, main.COMMANDS[command][0])), given


def choices(command: str, overrides: Sequence[str]) -> dict[str, str]:
    """The option that each group of `esr COMMAND OVERRIDES` has, unless it has several or none.

    Raises `ConfigError` as `settings` does.
    """
    tree, _ = _composed(command, overrides, return_hydra_config=True)
    found = dict(tree.hydra.runtime.choices)
    return {group: option for group, option in found.items() if isinstance(option, str)}


def _composed(command: str, overrides: Sequence[str], **how: bool) -> tuple[Any, list[str]]:
    for each in overrides:
        if main.SWEEPS.match(each) or each.startswith("-"):
            raise ConfigError(f"{each}: sweeps and flags are for the command line; give key=value")
    schema = main.COMMANDS[command][0]
    given = arguments.prepared(command, schema, overrides)
    state = GlobalHydra.instance()
    # The caller may be an application of Hydra itself.
    outer, state.hydra = state.hydra, None
    try:
        with (
            rewording.reworded(command, schema, given),
            hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"),
        ):
            return hydra.compose(command, overrides=given, **how), given
    finally:
        GlobalHydra.instance().hydra = outer
