"""`rollout_len=auto`: N from the profile of the pair, measured before a run starts."""

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

# Wherein an earlier profile may differ: other prompts of the same source, and no fewer.
FREE = dict.fromkeys(("prompts", "seed"))


def resolve(config: TrainConfig, folder: Path, task: Task) -> tuple[TrainConfig, str]:
    """The settings with a number in place of `auto`, and a line on where it comes from.

    What an earlier `esr probe source=task` found is taken, where it drew as this run will and asked
    as many prompts or more, of whatever seed, so that runs that differ in it alone train on one N;
    else the profile is measured into `probes-before` of the run's folder, on the first prompts of
    its `task`: no held-out question chooses N. Settings without `auto` come back as they are.

    Raises `ConfigError` where the profile gives no N, or one that the other settings cannot use.
    """
    if not config.auto_length:
        return config, ""
    asked = profile_of(config)
    found = next((each for each in _earlier(config, folder) if serves(each, asked)), None)
    how = "measured earlier" if found else "measured now"
    if found is None:
        found = folder / "probes-before"
        # Of other settings, from a run that was given up before it began.
        (found / "profile.jsonl").unlink(missing_ok=True)
        found.mkdir(parents=True, exist_ok=True)
        probe.measure(asked, found, task)
    rows = files.read_rows(found / "profile.jsonl")
    n = profile.suggested(rows)
    if n is None:
        raise ConfigError("rollout_len=auto: student and teacher do not differ; give a number")
    n = min(n, config.pair.max_response_tokens)
    config = replace(config, rollout=replace(config.rollout, max_tokens=n))
    refuse(limits.positions(config, lengths_of(config).longest))
    return config, f"rollout_len=auto: N={n}, {how}: {found / 'profile.jsonl'}"


def _earlier(config: TrainConfig, folder: Path) -> Iterator[Path]:
    yield folder / "probes-before"
    yield from sorted((Path("runs") / config.pair.name).glob("probes-*"))


def serves(folder: Path, asked: ProbeCommandConfig) -> bool:
    """Whether the profile in a folder was drawn as `asked`, from as many prompts or more."""
    if not (folder / "profile.jsonl").is_file() or not (folder / "profile.yaml").is_file():
        return False
    known, wanted = gate.read_yaml(folder / "profile.yaml"), settings(asked, "profile")
    enough = known.get("prompts", 0) >= wanted["prompts"]
    return enough and {**known, **FREE} == {**wanted, **FREE}
