"""What a bench measured, as `bench.json` keeps it: medians, floors, ratios, and a straight line."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from esr_cli.base.files import Rows
from esr_cli.base.statistics import bootstrap

PHASES = ("generate", "score", "train", "sync", "other", "step")
# A step of one arm at one length, as `Ours.step` and `Trl.step` tell it.
Step = dict[str, Any]
# By arm and length, in the order in which they were taken.
Steps = dict[tuple[str, str], list[Step]]


def rows(steps: Steps) -> Rows:
    """A row an arm, length and phase: the median seconds, all of them, the floor if it has one."""
    found = []
    for (arm, length), taken in steps.items():
        for phase in PHASES:
            seconds = [_seconds(each, phase) for each in taken]
            floors = [each["floor"][phase] for each in taken if phase in each.get("floor", {})]
            found.append({
                "arm": arm, "length": length, "phase": phase, "seconds": median(seconds),
                "all": [round(each, 6) for each in seconds],
                "floor": median(floors) if floors else None,
            })  # fmt: skip
    return found


def memory(steps: Steps) -> Rows:
    """A row an arm, length and process: its highest peak in GiB."""
    return [
        {"arm": arm, "length": length, "process": name,
         "gib": max(each["gib"][name] for each in taken)}
        for (arm, length), taken in steps.items() for name in taken[0]["gib"]
    ]  # fmt: skip


def work(steps: Steps) -> Rows:
    """A row an arm and length: response tokens of a step, and those of the longest response."""
    return [
        {"arm": arm, "length": length, "tokens": median(each["tokens"] for each in taken),
         "longest": median(each["longest"] for each in taken)}
        for (arm, length), taken in steps.items()
    ]  # fmt: skip


def ratios(steps: Steps, peer: str) -> dict[str, dict[str, dict[str, float]]]:
    """How many times as long the peer's step takes as ours, by arm of ours and length.

    The median over pairs of steps that were taken one after the other, and its 95 % interval.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (arm, length), taken in steps.items():
        theirs = steps.get((peer, length))
        if arm == peer or not theirs:
            continue
        pairs = zip(theirs, taken, strict=True)
        each = [_seconds(a, "step") / _seconds(b, "step") for a, b in pairs]
        value, low, high = bootstrap(each, lambda array: np.median(array, axis=-1))
        found.setdefault(arm, {})[length] = {"ratio": value, "low": low, "high": high}
    return found


def line(steps: Steps, arm: str) -> dict[str, float] | None:
    """Seconds a step over the longest response, by least squares: a constant, a slope, and R².

    None where fewer than three lengths differ.
    """
    points = [
        (median(s["longest"] for s in taken), median(_seconds(s, "step") for s in taken))
        for (name, _), taken in steps.items() if name == arm
    ]  # fmt: skip
    if len({x for x, _ in points}) < 3:
        return None
    x, y = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    slope, constant = np.polyfit(x, y, 1)
    left = float(((y - constant - slope * x) ** 2).sum())
    around = float(((y - y.mean()) ** 2).sum())
    return {"constant_s": float(constant), "s_a_token": float(slope), "r2": 1 - left / around}


def _seconds(step: Step, phase: str) -> float:
    seconds = step["seconds"]
    if phase != "other":
        return float(seconds.get(phase, 0.0))
    return float(seconds["step"] - sum(seconds.get(name, 0.0) for name in PHASES[:4]))
