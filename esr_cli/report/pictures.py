"""The figures of a report, with captions and text alternatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from esr_cli.plots import report as draw
from esr_cli.plots.report import Level, Place, Point
from esr_cli.report import numbers
from esr_cli.report.book import Group
from esr_cli.report.conditions import Condition
from esr_cli.report.number import Number
from esr_cli.report.panels import Line, Panel
from esr_cli.runs.lines import PHASES

MEANS = "Marks are means over the {unit}s with their 95 % intervals"


@dataclass(frozen=True)
class Canvas:
    """Where figures are drawn: a folder, a prefix of their names, and the kinds of files."""

    folder: Path
    prefix: str
    kinds: tuple[str, ...]

    def at(self, name: str) -> str:
        """The full name of a figure, without its ending."""
        return f"{self.prefix}{name}"


@dataclass(frozen=True)
class Picture:
    """A figure in the folder `figures`; `alt_text` replaces it for screen readers."""

    name: str
    title: str
    caption: str
    alt_text: str
    svg: Path


def lead_pictures(panel: Panel, canvas: Canvas) -> list[Picture]:
    """Accuracy against the tokens sampled, and over the steps."""
    tokens = _cost(panel, canvas, "accuracy_by_tokens", "the tokens sampled in training",
                   "tokens sampled in training", lambda line: line.tokens)  # fmt: skip
    return [each for each in (tokens, _steps(panel, canvas)) if each]


def more_pictures(panel: Panel, canvas: Canvas) -> list[Picture]:
    """Accuracy against the seconds of training, and against N."""
    seconds = _cost(panel, canvas, "accuracy_by_seconds", "the seconds of training",
                    "seconds of training", lambda line: line.seconds)  # fmt: skip
    return [each for each in (seconds, _lengths(panel, canvas)) if each]


def _axis(panel: Panel) -> str:
    """What the accuracy axis of a panel shows."""
    return f"{panel.benchmark} {panel.metric}, %"


def _picture(canvas: Canvas, name: str, title: str, caption: str, values: Sequence[str]) -> Picture:
    alt_text = f"{title}. {'; '.join(values)}."
    svg = canvas.folder / f"{canvas.at(name)}.svg"
    return Picture(canvas.at(name), title, caption, alt_text, svg)


def _cost(
    panel: Panel, canvas: Canvas, name: str, what: str, axis: str,
    of: Callable[[Line], Number | None],
) -> Picture | None:  # fmt: skip
    places, values = [], []
    for line in panel.lines:
        cost = of(line)
        if cost and cost.value > 0:
            point = _point(cost.value, line.accuracy)
            finite = math.isfinite(cost.high - cost.low)
            spread = (max(0.0, cost.low), cost.high) if finite else (cost.value, cost.value)
            places.append(Place(line.label, point, *spread))
            values.append(f"{line.label}: {point.value:.1f} at {point.at:,.0f}")
    if not places:
        return None
    levels = [] if not (start := panel.start) else [_level("at the start", start)]
    draw.costs(canvas.folder, canvas.at(name), places, levels, (axis, _axis(panel)),
               canvas.kinds)  # fmt: skip
    caption = f"{panel.name}, last evaluation. {MEANS.format(unit=panel.unit)}."
    return _picture(canvas, name, f"Accuracy against {what}", caption, values)


def _steps(panel: Panel, canvas: Canvas) -> Picture | None:
    curves = {}
    for condition in panel.conditions:
        at = sorted({step for run in condition.done for step in run.steps(panel.benchmark)})
        known = [(step, _at_step(condition, panel.benchmark, step)) for step in at]
        points = [_point(step, number) for step, number in known if number]
        if len(points) > 1:
            curves[condition.label] = points
    if not curves:
        return None
    name = "accuracy_by_step"
    draw.steps(canvas.folder, canvas.at(name), curves, _axis(panel), canvas.kinds)
    values = [f"{label} from {points[0].value:.1f} to {points[-1].value:.1f}"
              for label, points in curves.items()]  # fmt: skip
    spread = "shades are" if len(curves) <= draw.SHADED else "the bars at the ends are"
    caption = f"{panel.name}. Lines are means over the {panel.unit}s; {spread} 95 % intervals."
    return _picture(canvas, name, "Accuracy over the steps", caption, values)


def _lengths(panel: Panel, canvas: Canvas) -> Picture | None:
    families: dict[str, list[tuple[Condition, Point]]] = {}
    for condition in panel.conditions:
        if condition.kind == "esr":
            point = _point(condition.tokens, panel.accuracy(condition))
            families.setdefault(condition.family, []).append((condition, point))
    if not families:
        return None
    curves, levels = _named(families), _levels(panel)
    name = "accuracy_by_length"
    draw.lengths(canvas.folder, canvas.at(name), curves, levels, _axis(panel), canvas.kinds)
    values = [f"{label} at N={p.at:g}: {p.value:.1f}" for label, c in curves.items() for p in c]
    values += [f"{level.label}: {level.value:.1f}" for level in levels]
    caption = (
        f"{panel.name}, last evaluation. {MEANS.format(unit=panel.unit)}, dots single "
        f"{panel.unit}s; the horizontal lines do not depend on N."
    )
    return _picture(canvas, name, "Accuracy against the rollout length", caption, values)


def _named(families: dict[str, list[tuple[Condition, Point]]]) -> dict[str, list[Point]]:
    """One curve for conditions that differ only in N, named by their label without N."""
    curves: dict[str, list[Point]] = {}
    for found in families.values():
        labels = [each.label.replace(f" N={each.tokens}", "") for each, _ in found]
        label = max(labels, key=len)
        count = sum(each == label or each.startswith(f"{label} (") for each in curves)
        curves[f"{label} ({count + 1})" if count else label] = [point for _, point in found]
    return curves


def _levels(panel: Panel) -> list[Level]:
    """Full rollouts (those comparable with ESR first), the untrained student and the teacher."""
    coupled = {id(full.runs) for _, full in panel.group.couples("main", "full")}
    full = [condition for condition in panel.conditions if condition.kind == "full"]
    full.sort(key=lambda condition: id(condition.runs) not in coupled)
    found: list[tuple[str, Number | None]] = [
        (each.label, panel.accuracy(each)) for each in full[:3]
    ]
    found += [("student at the start", panel.start), ("teacher", panel.teacher)]
    return [_level(label, number) for label, number in found if number]


def _at_step(condition: Condition, benchmark: str, step: int) -> Number | None:
    return numbers.accuracy_at(
        condition, benchmark, lambda run, on: step if step in run.steps(on) else None
    )


def phases(group: Group, among: Sequence[Condition], canvas: Canvas) -> list[Picture]:
    """The phases of a step and the peak memory of those conditions of a group whose times count:
    no picture, or one.
    """
    seconds, peaks = {}, {}
    clocked = {id(each.runs) for each in group.clocked}
    for condition in (each for each in among if id(each.runs) in clocked):
        medians = {phase: numbers.phase_seconds(condition, phase) for phase in PHASES}
        if any(medians.values()):
            seconds[condition.label] = {phase: n.value for phase, n in medians.items() if n}
            if peak := numbers.peak_gib(condition):
                peaks[condition.label] = peak.value
    if not seconds:
        return []
    name = "seconds_and_memory"
    draw.phases(canvas.folder, canvas.at(name), seconds, peaks, canvas.kinds)
    totals = [f"{label}: {sum(each.values()):.3g} s" for label, each in seconds.items()]
    caption = (
        "Left: the median of each phase of a step, averaged over the seeds. Right: the peak memory "
        "of the trainer process, on the device, or resident if there is no device."
    )
    return [_picture(canvas, name, "Seconds a step and memory", caption, totals)]


def _level(label: str, number: Number) -> Level:
    return Level(label, 100 * number.value, 100 * number.low, 100 * number.high)


def _point(at: float, number: Number) -> Point:
    scaled = number.scaled(100)
    return Point(at, scaled.value, scaled.low, scaled.high, scaled.seeds)
