"""Training from Python: the run that `esr train` makes, in this process."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esr_cli.api.runs import Run, load_run
from esr_cli.base import companions, failures, process
from esr_cli.cli import composing
from esr_cli.config import ConfigError
from esr_cli.config.errors import need
from esr_cli.execution import jobs
from esr_cli.runs import folder as run_folder

# Texts that Hydra reads as such without quotes, and those that it reads as another value.
PLAIN = re.compile(r"[A-Za-z_./][\w./:@+-]*", re.ASCII)
SPECIAL = re.compile(r"null|true|false|nan|inf", re.IGNORECASE)


def train(overrides: Sequence[str] = (), **settings: Any) -> Run:
    """Trains as `esr train` does, in this process, and returns the run; prints the same lines.

    `overrides` are settings as on the command line (`["+rollout_len=64", "tune.rank=16"]`);
    `settings` are further ones with values of Python (`steps=10, rollout="eager"`). Engine and
    teacher run in processes of their own unless `execution=inline`.

    Raises `ConfigError` for what is wrong with the settings, before any model loads, and `Failure`
    if the run fails; its message says how to resume. Ctrl-C and SIGTERM are the run's while it
    trains, so that only the main thread may call this.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError("esr.train: handles Ctrl-C; call it in the main thread of a process")
    if isinstance(overrides, str):
        raise ConfigError(f"{overrides}: is one text; give a list, [{overrides!r}]")
    process.spin_briefly()
    companions.hide()
    typed = [*overrides, *(f"{key}={_text(key, value)}" for key, value in settings.items())]
    config, given = composing.settings("train", typed)
    need(not config.dry_run, "dry_run", True, "trains nothing; esr check prints the same")
    folder = Path(config.resume) if config.resume else run_folder.path_of(config, given)
    from esr_cli.train import command

    try:
        command.run(config, given)
    finally:
        failures.log_to(None)
    return load_run(folder)


def _text(key: str, value: Any) -> str:
    """A value as Hydra reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(_text(key, each) for each in value)}]"
    if not isinstance(value, str | os.PathLike):
        raise ConfigError(f"{key}={value}: give a number, a text, a list, or settings of a group "
                          f'one by one, **{{"{key}.NAME": …}}')  # fmt: skip
    text = os.fspath(value)
    return text if PLAIN.fullmatch(text) and not SPECIAL.fullmatch(text) else jobs.text(text)
