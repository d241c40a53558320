"""Name, tags and group of a run in its trackers, as people would write them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from esr_cli.base import files
from esr_cli.config import TrackingConfig, TrainConfig

# The longest that W&B takes, in characters.
LONGEST_TAG, LONGEST_NAME = 64, 128
# Not worth a place in a name.
USUAL = {"loss": "reverse_kl", "tokens": "all", "lengths": "constant"}
# What a label is called as a setting. The name has pair, N and seed in any case.
SETTINGS = {
    "loss.divergence": "loss", "loss.select": "tokens", "lengths.schedule": "lengths",
    "tune.method": "tune",
}  # fmt: skip
NAMED = ("pair", "rollout_len", "rollout.max_tokens", "seed")


def labels(config: TrainConfig) -> dict[str, str]:
    """What distinguishes a run at a glance, by name."""
    return {
        "pair": config.pair.name, "task": config.task.name, "N": str(config.rollout.max_tokens),
        "loss": config.loss.divergence, "tokens": config.loss.select,
        "lengths": config.lengths.schedule, "tune": config.tune.method,
        "rollout": config.rollout.engine,
    }  # fmt: skip


def name(config: TrainConfig, varied: Iterable[str] = ()) -> str:
    """Such as `lab N=64 s0`: pair, length, what is not usual, and the seed.

    `varied` are the overrides in which the run differs from the others of its sweep.
    """
    known = labels(config)
    parts = {key: known[key] for key, usual in USUAL.items() if known[key] != usual}
    for text in varied:
        key, _, value = text.lstrip("+").partition("=")
        if key == "loss":  # an option, which sets the tokens too
            parts.pop("tokens", None)
        if key not in NAMED:
            parts[SETTINGS.get(key, key.rpartition(".")[2])] = value.strip("'\"")
    shown = [f"{key}={value}" for key, value in parts.items()]
    return _cut(
        " ".join(filter(None, [known["pair"], f"N={known['N']}", *shown, f"s{config.seed}"]))
    )


def in_sweep(
    config: TrainConfig, overrides: Iterable[str], varied: Iterable[str], sweep: str
) -> dict[str, str]:
    """Group and name of a run of a sweep, unless the settings give them.

    `varied` are the keys with several values, among the run's `overrides`; `sweep` is the name of
    the sweep. The group is the pair and the task, if its runs share them, and that name.
    """
    keys = {key.lstrip("+") for key in varied}
    differs = [text for text in overrides if text.lstrip("+").partition("=")[0] in keys]
    shared = [] if "pair" in keys else [config.pair.name]
    if "task" not in keys and config.task.name not in shared:
        shared.append(config.task.name)
    own = config.tracking
    return {
        "group": own.group or _cut(" ".join(filter(None, [*shared, sweep]))),
        "name": own.name or name(config, differs),
    }


def labelled(config: TrainConfig) -> TrackingConfig:
    """The tracking settings of a run, with its name and with its labels as tags."""
    tags = [f"{key}={value}" for key, value in labels(config).items() if value]
    own = config.tracking
    tags = list(dict.fromkeys(tag[:LONGEST_TAG] for tag in (*tags, *own.tags) if tag))
    return replace(own, name=own.name or name(config), tags=tags)


def _cut(text: str) -> str:
    """A text that W&B takes as a name, still unlike others that begin alike."""
    short = f"{text[: LONGEST_NAME - 13]}-{files.hash_of({'': text})}"
    return text if len(text) <= LONGEST_NAME else short
