"""Settings of runs side by side: which differ, and which of them tell nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from esr_cli.config.train import NO_DIFFERENCE

# What tells no arm from another.
LEFT_OUT = (*NO_DIFFERENCE, "seed", "config_hash", "save_every", "keep_checkpoints")
# What the roles of claims.yaml are about: how long rollouts are, and which of their tokens count.
ROLES = (
    "rollout.max_tokens", "lengths", "loss.select", "loss.keep_tokens", "loss.by",
    "loss.window_start", "loss.window_end", "loss.confidence",
)  # fmt: skip


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def differing(ours: dict[str, Any], theirs: dict[str, Any], free: Iterable[str] = ()) -> list[str]:
    """The dotted names of flat settings that differ, but for those that may: each name in `free`,
    and all below it.
    """
    may = (*LEFT_OUT, *free)
    keys = dict.fromkeys([*ours, *theirs])
    return [key for key in keys if ours.get(key) != theirs.get(key) and not under(key, may)]


def under(key: str, names: Iterable[str]) -> bool:
    """Whether a dotted name is one of `names`, or below one."""
    return any(key == name or key.startswith(f"{name}.") for name in names)
