"""The contents of `bench.json`: medians, floors, ratios, and a straight-line fit."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from esr_cli.base.files import Rows

PARTS = ("generate", "score", "train", "sync")
# Scoring and training together: what the rollout length shortens least, where prompts are long.
SCORE_TRAIN = "score+train"
PHASES = ("generate", "score", "train", SCORE_TRAIN, "sync", "other", "step")
# A step of one configuration at one length, as returned by `Ours.step` and `Trl.step`.
Step = dict[str, Any]
# By configuration and length, in the order in which they were taken.
Steps = dict[tuple[str, str], list[Step]]


def rows(steps: Steps) -> Rows:
    """One row per configuration, length and phase: median seconds, all seconds, floor if any.

    A phase that a configuration does not have (TRL's `sync` on a CPU) has no row.
    """
    found = []
    for (name, length), taken in steps.items():
        for phase in PHASES:
            if not _has(taken, phase):
                continue
            seconds = [_seconds(each, phase) for each in taken]
            parts = phase.split("+")
            floors = [
                sum(each["floor"][part] for part in parts)
                for each in taken if set(parts) <= each.get("floor", {}).keys()
            ]  # fmt: skip
            found.append({
                "arm": name, "length": length, "phase": phase, "seconds": median(seconds),
                "all": [round(each, 6) for each in seconds],
                "floor": median(floors) if floors else None,
            })  # fmt: skip
    return found


def memory(steps: Steps) -> Rows:
    """One row per configuration, length and process: its highest memory peak in GiB."""
    return [
        {"arm": name, "length": length, "process": process,
         "gib": max(each["gib"][process] for each in taken)}
        for (name, length), taken in steps.items() for process in taken[0]["gib"]
    ]  # fmt: skip


def work(steps: Steps) -> Rows:
    """One row per configuration and length: a step's response tokens, and the longest response."""
    return [
        {"arm": name, "length": length, "tokens": median(each["tokens"] for each in taken),
         "longest": median(each["longest"] for each in taken)}
        for (name, length), taken in steps.items()
    ]  # fmt: skip


def ratios(steps: Steps, peer: str, phase: str = "step") -> dict[str, dict[str, dict[str, float]]]:
    """The peer's time of a phase over ours, by our configuration and length.

    The median over pairs of steps of the same round, with the lowest and the highest. One run has
    no interval: its steps resemble each other and are no sample of runs.
    """
    result: dict[str, dict[str, dict[str, float]]] = {}
    for (name, length), taken in steps.items():
        peer_steps = steps.get((peer, length))
        if name == peer or not peer_steps or not (_has(taken, phase) and _has(peer_steps, phase)):
            continue
        pairs = zip(peer_steps, taken, strict=True)
        each = [_seconds(a, phase) / _seconds(b, phase) for a, b in pairs]
        found = {"ratio": median(each), "low": min(each), "high": max(each)}
        result.setdefault(name, {})[length] = found
    return result


def line(steps: Steps, configuration: str) -> dict[str, float] | None:
    """A least-squares line of step seconds over the longest response: constant, slope and R².

    None if there are fewer than three different lengths.
    """
    points = [
        (median(s["longest"] for s in taken), median(_seconds(s, "step") for s in taken))
        for (name, _), taken in steps.items() if name == configuration
    ]  # fmt: skip
    if len({x for x, _ in points}) < 3:
        return None
    x, y = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    slope, constant = np.polyfit(x, y, 1)
    residual = float(((y - constant - slope * x) ** 2).sum())
    total = float(((y - y.mean()) ** 2).sum())
    return {"constant_s": float(constant), "s_a_token": float(slope), "r2": 1 - residual / total}


def _has(taken: list[Step], phase: str) -> bool:
    """Whether a configuration has the phase; what is left of a step, and the step, all have."""
    parts = set(phase.split("+"))
    return phase in ("other", "step") or any(parts & step["seconds"].keys() for step in taken)


def _seconds(step: Step, phase: str) -> float:
    seconds = step["seconds"]
    if phase != "other":
        return float(sum(seconds.get(part, 0.0) for part in phase.split("+")))
    return float(seconds["step"] - sum(seconds.get(part, 0.0) for part in PARTS))
