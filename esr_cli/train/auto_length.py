"""`rollout_len=auto`: chooses N from the pair's profile, measured before the run starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from esr_cli.assembly.data import Task
from esr_cli.assembly.objective import lengths_of
from esr_cli.base import files
from esr_cli.check import limits
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.config.finding import refuse
from esr_cli.probe import command as probe
from esr_cli.probe import earlier
from esr_cli.probe.analyses import profile
from esr_cli.probe.settings import profile_of

# A raise to the teacher's length must not cost more than this many times the tokens.
MOST_RAISED = 2


def resolve(config: TrainConfig, folder: Path, task: Task) -> tuple[TrainConfig, str]:
    """The settings with a number in place of `auto`, and a line that says where it comes from.

    The profile of an earlier `esr probe source=task` is used if it sampled with this run's settings
    on at least as many prompts. Its seed may differ, so that runs that differ only in their seed
    train with the same N. Otherwise the profile is measured on the first prompts of `task` and
    written to `probes-before` in the run folder: no held-out question takes part in the choice.
    Below the median length of the teacher's own responses most rollouts show no end: N is raised to
    it if that costs at most `MOST_RAISED` times the tokens; otherwise the line says so. Settings
    without `auto` are returned unchanged.

    Raises `ConfigError` if the profile gives no N, or one that the other settings do not allow.
    """
    if not config.auto_length:
        return config, ""
    place = earlier.find(config, folder)
    how = "measured earlier" if place else "measured now"
    if place is None:
        place = folder / "probes-before"
        # A run that was given up before it began may have left a profile of other settings.
        (place / "profile.jsonl").unlink(missing_ok=True)
        place.mkdir(parents=True, exist_ok=True)
        probe.measure(profile_of(config), place, task)
    rows = files.read_rows(place / "profile.jsonl")
    n = profile.suggested(rows)
    if n is None:
        raise ConfigError("rollout_len=auto: student and teacher do not differ; give a number")
    n, why = chosen(n, profile.teacher_length(rows))
    n = min(n, config.pair.max_response_tokens)
    config = replace(config, rollout=replace(config.rollout, max_tokens=n))
    refuse(limits.positions(config, lengths_of(config).longest))
    return config, f"rollout_len=auto: N={n}, {how}: {place / 'profile.jsonl'}{why}"


def chosen(suggested: int, teacher_length: int | None) -> tuple[int, str]:
    """N in tokens, and how it compares with the teacher's median length; empty if it is as long."""
    if teacher_length is None or suggested >= teacher_length:
        return suggested, ""
    if teacher_length <= MOST_RAISED * suggested:
        why = f"; raised to the teacher's median response (the KL alone suggests {suggested})"
        return teacher_length, why
    why = (
        f"; the teacher's median response has {teacher_length} tokens, so most rollouts show no end"
    )
    return suggested, why
