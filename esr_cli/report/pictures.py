"""The figures of a report, with captions and text alternatives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from esr_cli.plots import report as draw
from esr_cli.plots.report import Level, Point
from esr_cli.report import numbers
from esr_cli.report.book import Group
from esr_cli.report.condition_tables import teacher_in
from esr_cli.report.conditions import Condition
from esr_cli.report.number import Number
from esr_cli.runs.lines import PHASES

UNIT = "accuracy, avg@k (%)"


@dataclass(frozen=True)
class Picture:
    """A figure in the folder `figures`; `alt_text` replaces it for screen readers."""

    name: str
    title: str
    caption: str
    alt_text: str
    svg: Path


def pictures(group: Group, folder: Path, prefix: str) -> list[Picture]:
    """Draws a group's figures. A figure without data is left out."""
    found = [_lengths(group, folder, prefix), _steps(group, folder, prefix),
             _phases(group, folder, prefix)]  # fmt: skip
    return [each for each in found if each]


def _lengths(group: Group, folder: Path, prefix: str) -> Picture | None:
    esr = [each for each in group.graded if each.kind == "esr" and each.done]
    families: dict[str, list[tuple[Condition, Point]]] = {}
    for condition in esr:
        number = numbers.accuracy(condition, group.benchmark, "last")
        if number:
            point = _point(condition.tokens, number)
            families.setdefault(condition.family, []).append((condition, point))
    if not families:
        return None
    curves = _named(families)
    levels = _levels(group)
    name = f"{prefix}accuracy_by_length"
    draw.lengths(folder, name, curves, levels, UNIT)
    values = [f"{label} at N={p.at:g}: {p.value:.1f}" for label, c in curves.items() for p in c]
    values += [f"{level.label}: {level.value:.1f}" for level in levels]
    return Picture(
        name, "Accuracy against the rollout length",
        f"{group.benchmark}, last evaluation, in per cent. Marks are means over the seeds with "
        "their 95 % intervals, dots single seeds; the horizontal lines do not depend on N.",
        "Accuracy against the rollout length N. " + "; ".join(values) + ".", folder / f"{name}.svg",
    )  # fmt: skip


def _named(families: dict[str, list[tuple[Condition, Point]]]) -> dict[str, list[Point]]:
    """One curve for conditions that differ only in N, named by their label without N."""
    curves: dict[str, list[Point]] = {}
    for found in families.values():
        labels = [each.label.replace(f" N={each.tokens}", "") for each, _ in found]
        label = max(labels, key=len)
        count = sum(each == label or each.startswith(f"{label} (") for each in curves)
        curves[f"{label} ({count + 1})" if count else label] = [point for _, point in found]
    return curves


def _levels(group: Group) -> list[Level]:
    """Full rollouts (those comparable with ESR first), the untrained student and the teacher."""
    coupled = {full.label for _, full in group.couples("main", "full")}
    full = [condition for condition in group.graded if condition.kind == "full" and condition.done]
    full.sort(key=lambda condition: condition.label not in coupled)
    found = [(each.label, numbers.accuracy(each, group.benchmark, "last")) for each in full[:3]]
    most = max(group.graded, key=lambda condition: len(condition.units))
    found.append(("student at the start", numbers.accuracy(most, group.benchmark, "before")))
    found.append(("teacher", teacher_in(group, group.benchmark, "avg@")))
    return [
        Level(label, 100 * number.value, 100 * number.low, 100 * number.high)
        for label, number in found if number
    ]  # fmt: skip


def _steps(group: Group, folder: Path, prefix: str) -> Picture | None:
    curves = {}
    for condition in group.graded:
        runs = condition.done
        at = sorted({step for run in runs for step in run.steps(group.benchmark)})
        known = [(step, _at_step(condition, group, step)) for step in at]
        points = [_point(step, number) for step, number in known if number]
        if len(points) > 1:
            curves[condition.label] = points
    if not curves:
        return None
    name = f"{prefix}accuracy_by_step"
    draw.steps(folder, name, curves, UNIT)
    values = "; ".join(f"{label} from {points[0].value:.1f} to {points[-1].value:.1f}"
                     for label, points in curves.items())  # fmt: skip
    return Picture(
        name, "Accuracy over the steps", f"{group.benchmark}, means over the seeds, in per cent.",
        f"Accuracy over the steps: {values}.", folder / f"{name}.svg",
    )  # fmt: skip


def _at_step(condition: Condition, group: Group, step: int) -> Number | None:
    return numbers.accuracy_at(
        condition, group.benchmark, lambda run, on: step if step in run.steps(on) else None
    )


def _phases(group: Group, folder: Path, prefix: str) -> Picture | None:
    seconds, peaks = {}, {}
    for condition in group.clocked:
        medians = {phase: numbers.phase_seconds(condition, phase) for phase in PHASES}
        if any(medians.values()):
            seconds[condition.label] = {phase: n.value for phase, n in medians.items() if n}
            if peak := numbers.peak_gib(condition):
                peaks[condition.label] = peak.value
    if not seconds:
        return None
    name = f"{prefix}seconds_and_memory"
    draw.phases(folder, name, seconds, peaks)
    totals = "; ".join(f"{label}: {sum(each.values()):.3g} s" for label, each in seconds.items())
    return Picture(
        name, "Seconds and memory",
        "Left: the median of each phase of a step, averaged over the seeds. Right: the peak memory "
        "of the trainer process, on the device, or resident if there is no device.",
        f"Seconds a step. {totals}.", folder / f"{name}.svg",
    )  # fmt: skip


def _point(at: float, number: Number) -> Point:
    scaled = number.scaled(100)
    return Point(at, scaled.value, scaled.low, scaled.high, scaled.seeds)
