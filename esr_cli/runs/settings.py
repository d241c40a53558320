"""Compares settings of runs, without those that do not distinguish conditions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from esr_cli.base.words import counted
from esr_cli.config.train import FREE_ON_RESUME

# Settings that do not distinguish one condition from another.
IGNORED = (*FREE_ON_RESUME, "seed", "config_hash")
# Settings that the roles of claims.yaml vary: the rollout length and the token mask.
ROLES = (
    "rollout.max_tokens", "lengths", "loss.select", "loss.keep_tokens", "loss.by",
    "loss.window_start", "loss.window_end", "loss.confidence",
)  # fmt: skip
# A longer value, such as a prompt template, is cut in a label.
MOST_OF_A_VALUE = 40


def unit_of(config: dict[str, Any]) -> int | str:
    """What a run is a sample of: its student if that is one of a population, and else its seed."""
    if _population(config):
        return str(config["pair"]["student"]["path"])
    return int(config.get("seed", 0))


def of_condition(config: dict[str, Any]) -> dict[str, Any]:
    """A run's settings, in which the student of a population is named by the population."""
    if not (name := _population(config)):
        return config
    pair = config["pair"]
    return config | {"pair": pair | {"student": pair["student"] | {"path": name}}}


def _population(config: dict[str, Any]) -> str:
    pair = config.get("pair")
    return str(pair.get("population") or "") if isinstance(pair, dict) else ""


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested settings into a dictionary by dotted names.

    Empty groups are left out: an older run may not know them.
    """
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def differing(a: dict[str, Any], b: dict[str, Any], free: Iterable[str] = ()) -> list[str]:
    """The dotted names of flat settings that differ. Names in `free`, all names below them, and
    `IGNORED` may differ and are left out.
    """
    allowed = (*IGNORED, *free)
    keys = dict.fromkeys([*a, *b])
    return [key for key in keys if a.get(key) != b.get(key) and not under(key, allowed)]


def under(key: str, names: Iterable[str]) -> bool:
    """Whether a dotted name is one of `names` or lies below one of them."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def in_words(name: str, value: Any) -> str:
    """A setting and its value, for labels: `learning rate 0.001`, `without system`, `64 questions`.

    `name` is the last part of its dotted name.
    """
    words = name.replace("_", " ")
    if name == "limit" and value is None:
        return "all questions"
    if value is None or isinstance(value, bool):
        return f"{'with' if value else 'without'} {words}"
    if name == "limit" and isinstance(value, int):
        return counted(value, "question")
    text = " ".join(str(value).split())
    return f"{words} {text if len(text) <= MOST_OF_A_VALUE else f'{text[:MOST_OF_A_VALUE]}…'}"
