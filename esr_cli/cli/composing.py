"""The settings of a command for Python code: composed as on the command line, but not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra

import esr_cli.config
from esr_cli.base.files import conf_dir
from esr_cli.cli import arguments, main
from esr_cli.config import ConfigError, gate


def settings(command: str, overrides: Sequence[str]) -> tuple[Any, list[str]]:
    """The typed settings of `esr COMMAND OVERRIDES`, and the overrides in Hydra's form.

    Raises `ConfigError` with the line that the command would print.
    """
    for each in overrides:
        if main.SWEEPS.match(each) or each.startswith("-"):
            raise ConfigError(f"{each}: sweeps and flags are for the command line; give key=value")
    given = arguments.prepared(command, main.COMMANDS[command][0], overrides)
    state = GlobalHydra.instance()
    # The caller may be an application of Hydra itself.
    outer, state.hydra = state.hydra, None
    try:
        with (
            main.reworded(command, given),
            hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"),
        ):
            tree = hydra.compose(command, overrides=given)
    finally:
        GlobalHydra.instance().hydra = outer
    return gate.read(tree, getattr(esr_cli.config, main.COMMANDS[command][0])), given
