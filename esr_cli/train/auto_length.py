"""`rollout_len=auto`: chooses N from the pair's profile, measured before the run starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from esr_cli.assembly.data import Task
from esr_cli.assembly.objective import lengths_of
from esr_cli.base import files
from esr_cli.check import limits
from esr_cli.config import ConfigError, ProbeCommandConfig, TrainConfig, gate
from esr_cli.config.finding import refuse
from esr_cli.probe import command as probe
from esr_cli.probe.analyses import profile
from esr_cli.probe.settings import profile_of, settings

# Settings in which an earlier profile may differ: `serves` compares the number of prompts itself.
FREE = dict.fromkeys(("prompts", "seed"))


def resolve(config: TrainConfig, folder: Path, task: Task) -> tuple[TrainConfig, str]:
    """The settings with a number in place of `auto`, and a line that says where it comes from.

    The profile of an earlier `esr probe source=task` is used if it sampled with this run's settings
    on at least as many prompts. Its seed may differ, so that runs that differ only in their seed
    train with the same N. Otherwise the profile is measured on the first prompts of `task` and
    written to `probes-before` in the run folder: no held-out question takes part in the choice.
    Settings without `auto` are returned unchanged.

    Raises `ConfigError` if the profile gives no N, or one that the other settings do not allow.
    """
    if not config.auto_length:
        return config, ""
    wanted = profile_of(config)
    place = next((each for each in _earlier(config, folder) if serves(each, wanted)), None)
    how = "measured earlier" if place else "measured now"
    if place is None:
        place = folder / "probes-before"
        # A run that was given up before it began may have left a profile of other settings.
        (place / "profile.jsonl").unlink(missing_ok=True)
        place.mkdir(parents=True, exist_ok=True)
        probe.measure(wanted, place, task)
    rows = files.read_rows(place / "profile.jsonl")
    n = profile.suggested(rows)
    if n is None:
        raise ConfigError("rollout_len=auto: student and teacher do not differ; give a number")
    n = min(n, config.pair.max_response_tokens)
    config = replace(config, rollout=replace(config.rollout, max_tokens=n))
    refuse(limits.positions(config, lengths_of(config).longest))
    return config, f"rollout_len=auto: N={n}, {how}: {place / 'profile.jsonl'}"


def _earlier(config: TrainConfig, folder: Path) -> Iterator[Path]:
    yield folder / "probes-before"
    yield from sorted((Path("runs") / config.pair.name).glob("probes-*"))


def serves(folder: Path, wanted: ProbeCommandConfig) -> bool:
    """Whether a folder holds a profile sampled as `wanted`, from at least as many prompts."""
    if not (folder / "profile.jsonl").is_file() or not (folder / "profile.yaml").is_file():
        return False
    saved, needed = gate.read_yaml(folder / "profile.yaml"), settings(wanted, "profile")
    enough = saved.get("prompts", 0) >= needed["prompts"]
    return enough and {**saved, **FREE} == {**needed, **FREE}
