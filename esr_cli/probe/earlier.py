"""Profiles of a pair that were measured earlier, and whether they serve a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from esr_cli.config import ProbeCommandConfig, TrainConfig, gate
from esr_cli.probe.settings import profile_of, settings

# Settings in which an earlier profile may differ: `serves` compares the number of prompts itself.
FREE = dict.fromkeys(("prompts", "seed"))


def find(config: TrainConfig, folder: Path | None = None) -> Path | None:
    """A folder with a profile sampled as the run's rollouts, from enough prompts; None without one.

    It is the `folder` of the run, if that is given, or one that `esr probe source=task` wrote.
    """
    wanted = profile_of(config)
    own = [folder / "probes-before"] if folder else []
    return next((each for each in (*own, *_probed(config)) if serves(each, wanted)), None)


def _probed(config: TrainConfig) -> Iterator[Path]:
    yield from sorted((Path("runs") / config.pair.name).glob("probes-*"))


def serves(folder: Path, wanted: ProbeCommandConfig) -> bool:
    """Whether a folder holds a profile sampled as `wanted`, from at least as many prompts."""
    if not (folder / "profile.jsonl").is_file() or not (folder / "profile.yaml").is_file():
        return False
    saved, needed = gate.read_yaml(folder / "profile.yaml"), settings(wanted, "profile")
    enough = saved.get("prompts", 0) >= needed["prompts"]
    return enough and {**saved, **FREE} == {**needed, **FREE}
