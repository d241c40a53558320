"""The settings of a saved run. The file may come from a stranger, so it is not trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from esr_cli.base import files
from esr_cli.config import ConfigError, EvalConfig, TrainConfig, gate
from esr_cli.config.evaluate import SANDBOXES

# Settings that could run code of a stranger's. They count only as typed, not as saved.
TYPED_ONLY = ("pair.student.trust_remote_code", "pair.teacher.trust_remote_code", "sandbox")
# What determines how an engine of `rollout` runs, not what it samples.
ENGINE = ("engine", "max_sequences", "gpu_memory_utilization", "tensor_parallel")


def typed_only(overrides: Iterable[str]) -> list[str]:
    """The overrides that must be typed again when a run is reopened."""
    return [text for text in overrides if text.lstrip("+").split("=")[0] in TYPED_ONLY]


def to_type(config: TrainConfig) -> list[str]:
    """The overrides that must be typed when the run of these settings is reopened."""
    plain = gate.as_plain(config)
    values = {key: value_at(plain, key) for key in TYPED_ONLY}
    defaults = (False, SANDBOXES[0])
    return [f"{k}={str(v).lower()}" for k, v in values.items() if v not in defaults]


def engine(
    of_run: Mapping[str, Any], given: Mapping[str, Any], overrides: Iterable[str]
) -> dict[str, Any]:
    """The settings of the engine for `eval` and `probe` of a run: its own, unless they are typed.

    `of_run` and `given` are the groups `rollout` of the run and of the command.
    """
    typed = {text.lstrip("+~").split("=")[0].split("@")[0] for text in overrides}
    own = {key for key in ENGINE if not typed & {"rollout", f"rollout.{key}"}}
    return {key: (of_run if key in own and key in of_run else given)[key] for key in ENGINE}


def for_eval(config: EvalConfig, overrides: Iterable[str]) -> EvalConfig:
    """The settings of an evaluation; with `run`, engine and data folder are by default its own."""
    path = Path(str(config.run)) / "config.yaml"
    if not config.run or not path.is_file():
        return config
    run, given = gate.read_yaml(path), gate.as_plain(config)
    of_run = run.get("rollout")
    rollout = engine(of_run if isinstance(of_run, dict) else {}, given["rollout"], overrides)
    data = given["data_dir"] or run.get("data_dir")
    changed = {"rollout": given["rollout"] | rollout, "data_dir": data}
    return gate.typed(given | changed, EvalConfig)


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
