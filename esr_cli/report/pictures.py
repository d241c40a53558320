"""Which figures a report draws, and what they tell who cannot see them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from esr_cli.plots import report as draw
from esr_cli.plots.report import Level, Point
from esr_cli.report import numbers
from esr_cli.report.arm_tables import teacher
from esr_cli.report.arms import Arm
from esr_cli.report.book import Group
from esr_cli.report.numbers import Number
from esr_cli.runs.lines import PHASES

UNIT = "accuracy, avg@k (%)"


@dataclass(frozen=True)
class Picture:
    """A figure of the folder `figures`: `says` stands for it where it cannot be seen."""

    name: str
    title: str
    caption: str
    says: str
    svg: Path


def pictures(group: Group, folder: Path, prefix: str) -> list[Picture]:
    """Draws a group's figures; one whose data are missing is left out."""
    found = [_lengths(group, folder, prefix), _steps(group, folder, prefix),
             _phases(group, folder, prefix)]  # fmt: skip
    return [each for each in found if each]


def _lengths(group: Group, folder: Path, prefix: str) -> Picture | None:
    esr = [arm for arm in group.graded if arm.kind == "esr" and arm.done]
    families: dict[str, list[tuple[Arm, Point]]] = {}
    for arm in esr:
        number = numbers.accuracy(arm, group.benchmark, "last")
        if number:
            families.setdefault(arm.family, []).append((arm, _point(arm.tokens, number)))
    if not families:
        return None
    curves = _named(families)
    levels = _levels(group)
    name = f"{prefix}accuracy_by_length"
    draw.lengths(folder, name, curves, levels, UNIT)
    said = [f"{label} at N={p.at:g}: {p.value:.1f}" for label, c in curves.items() for p in c]
    said += [f"{level.label}: {level.value:.1f}" for level in levels]
    return Picture(
        name, "Accuracy against the rollout length",
        f"{group.benchmark}, last evaluation, in per cent. Marks are means over the seeds with "
        "their 95 % intervals, dots single seeds; the lines need no N.",
        "Accuracy against the rollout length N. " + "; ".join(said) + ".", folder / f"{name}.svg",
    )  # fmt: skip


def _named(families: dict[str, list[tuple[Arm, Point]]]) -> dict[str, list[Point]]:
    """A line for arms that are alike in all but N, under what their labels say besides."""
    curves: dict[str, list[Point]] = {}
    for found in families.values():
        label = max((arm.label.replace(f" N={arm.tokens}", "") for arm, _ in found), key=len)
        count = sum(each == label or each.startswith(f"{label} (") for each in curves)
        curves[f"{label} ({count + 1})" if count else label] = [point for _, point in found]
    return curves


def _levels(group: Group) -> list[Level]:
    """Full rollouts, first those that stand beside ESR; the student and the teacher."""
    coupled = {full.label for _, full in group.couples("main", "full")}
    full = [arm for arm in group.graded if arm.kind == "full" and arm.done]
    full.sort(key=lambda arm: arm.label not in coupled)
    found = [(arm.label, numbers.accuracy(arm, group.benchmark, "last")) for arm in full[:3]]
    most = max(group.graded, key=lambda arm: len(arm.done))
    found.append(("student at the start", numbers.accuracy(most, group.benchmark, "before")))
    found.append(("teacher", teacher(group, f"{group.benchmark}/avg@")))
    return [
        Level(label, 100 * number.value, 100 * number.low, 100 * number.high)
        for label, number in found if number
    ]  # fmt: skip


def _steps(group: Group, folder: Path, prefix: str) -> Picture | None:
    curves = {}
    for arm in group.graded:
        at = sorted({step for run in arm.done.values() for step in run.steps(group.benchmark)})
        points = [_point(step, number) for step in at if (number := _at_step(arm, group, step))]
        if len(points) > 1:
            curves[arm.label] = points
    if not curves:
        return None
    name = f"{prefix}accuracy_by_step"
    draw.steps(folder, name, curves, UNIT)
    said = "; ".join(f"{label} from {points[0].value:.1f} to {points[-1].value:.1f}"
                     for label, points in curves.items())  # fmt: skip
    return Picture(
        name, "Accuracy over the steps", f"{group.benchmark}, means over the seeds, in per cent.",
        f"Accuracy over the steps: {said}.", folder / f"{name}.svg",
    )  # fmt: skip


def _at_step(arm: Arm, group: Group, step: int) -> Number | None:
    return numbers.accuracy_at(
        arm, group.benchmark, lambda run, asked: step if step in run.steps(asked) else None
    )


def _phases(group: Group, folder: Path, prefix: str) -> Picture | None:
    seconds, peaks = {}, {}
    for arm in group.clocked:
        told = {phase: numbers.phase_seconds(arm, phase) for phase in PHASES}
        if any(told.values()):
            seconds[arm.label] = {phase: n.value for phase, n in told.items() if n}
            if peak := numbers.peak_gib(arm):
                peaks[arm.label] = peak.value
    if not seconds:
        return None
    name = f"{prefix}seconds_and_memory"
    draw.phases(folder, name, seconds, peaks)
    said = "; ".join(f"{label}: {sum(each.values()):.3g} s" for label, each in seconds.items())
    return Picture(
        name, "Seconds and memory",
        "Left, the median of each phase of a step, the mean over the seeds. Right, the peak of the "
        "trainer's process: on the device, or resident where there is none.",
        f"Seconds a step. {said}.", folder / f"{name}.svg",
    )  # fmt: skip


def _point(at: float, number: Number) -> Point:
    scaled = number.scaled(100)
    return Point(at, scaled.value, scaled.low, scaled.high, scaled.seeds)
