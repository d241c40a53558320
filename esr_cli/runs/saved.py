"""The settings of a saved run. The file may come from a stranger, so it is not trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from esr_cli.base import files
from esr_cli.config import ConfigError, TrainConfig, gate

# Settings that could run code of a stranger's. They count only as typed, not as saved.
TYPED_ONLY = ("pair.student.trust_remote_code", "pair.teacher.trust_remote_code", "sandbox")


def typed_only(overrides: Iterable[str]) -> list[str]:
    """The overrides that must be typed again when a run is reopened."""
    return [text for text in overrides if text.lstrip("+").split("=")[0] in TYPED_ONLY]


def settings(folder: Path, typed: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of a run, as plain mappings.

    The file may come from a stranger. `typed` has the settings of the command line: those in
    TYPED_ONLY are taken from there. Prints a warning if the file was edited after the run was
    saved. Raises `ConfigError` if the file is broken, or if the run trusts remote code and the
    command line does not.
    """
    path = folder / "config.yaml"
    saved = gate.read_yaml(path)
    known = saved.pop("config_hash", None)
    if known is not None and known != files.hash_of(saved):
        print(f"warning: {path}: was edited after the run saved it; its settings are used as they "
              "stand now", flush=True)  # fmt: skip
    try:
        plain = gate.as_plain(gate.typed(saved, TrainConfig))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    for key in TYPED_ONLY if typed is not None else ():
        value = value_at(typed, key) or False
        if value_at(plain, key) is True and not value:
            raise ConfigError(
                f"{path}: {key}=true counts only if it is typed; add {key}=true if you trust the "
                "code that comes with the model"
            )
        set_at(plain, key, value)
    return plain


def value_at(tree: Any, key: str) -> Any:
    """The value of a dotted key in nested settings; None if there is none."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def set_at(tree: dict[str, Any], key: str, value: Any) -> None:
    """Sets the value of a dotted key, whose groups exist."""
    *groups, last = key.split(".")
    for part in groups:
        tree = tree[part]
    tree[last] = value
