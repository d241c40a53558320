"""Draws the figures of a report from plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from esr_cli.plots.labels import BROAD, around, beside, wrapped
from esr_cli.plots.style import COLOURS, INK, figure

MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")
# Colours that differ in grey too; after these, the dashes of lines differ.
LINES = 5
# The largest number of curves whose intervals are shaded.
SHADED = 2
Kinds = Sequence[str]


@dataclass(frozen=True)
class Point:
    """A mean with its 95 % interval at the position `at`, and the values of single seeds."""

    at: float
    value: float
    low: float
    high: float
    seeds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Place:
    """A condition by what it cost (`point.at`, between `left` and `right`) and how good it is."""

    label: str
    point: Point
    left: float
    right: float


@dataclass(frozen=True)
class Level:
    """A horizontal line with its 95 % interval: a value that does not depend on N."""

    label: str
    value: float
    low: float
    high: float


def costs(
    folder: Path, name: str, places: Sequence[Place], levels: Sequence[Level],
    axis_labels: tuple[str, str], kinds: Kinds,
) -> None:  # fmt: skip
    """Draws accuracy against a cost: a mark for each condition, with its label beside it."""
    with figure(folder, name, size=(4.2, _height(len(places))), kinds=kinds) as axes:
        for index, place in enumerate(places):
            point, colour = place.point, COLOURS[index % LINES]
            wide = place.right > place.left
            axes.errorbar(
                [point.at], [point.value], yerr=_error([point]), color=colour, capsize=3,
                xerr=[[point.at - place.left], [place.right - point.at]] if wide else None,
                marker=MARKERS[index % 8], ms=6,
            )  # fmt: skip
        every = [place.point.at for place in places]
        if max(every) > 8 * min(every):
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.3g}" if value < 1000
                                           else f"{value:,.0f}")  # fmt: skip
        else:
            axes.set_xlim(0, None)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
            axes.locator_params(axis="x", nbins=5)
        axes.margins(y=0.12)
        for level in levels:
            axes.axhline(level.value, color="0.5", ls=":", lw=1)
            axes.annotate(
                level.label, (0.995, level.value), xycoords=("axes fraction", "data"), ha="right",
                va="bottom", fontsize=8,
            )  # fmt: skip
        axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
        _grid(axes)
        bars = [((p.point.at, p.point.low), (p.point.at, p.point.high)) for p in places]
        bars += [((p.left, p.point.value), (p.right, p.point.value)) for p in places]
        edges = axes.get_xlim()
        bars += [((edges[0], level.value), (edges[1], level.value)) for level in levels]
        spots = [(p.label, p.point.at, p.point.value, p.point.high, p.point.low) for p in places]
        around(axes, spots, bars)


def lengths(
    folder: Path, name: str, curves: dict[str, list[Point]], levels: Sequence[Level], unit: str,
    kinds: Kinds,
) -> None:  # fmt: skip
    """Draws accuracy against N."""
    with figure(folder, name, size=(4.2, _height(len(curves) + len(levels))), kinds=kinds) as axes:
        ends = []
        for index, (label, points) in enumerate(curves.items()):
            colour = COLOURS[index % LINES]
            # Shift each curve slightly, because curves share their values of N.
            points = [replace(point, at=point.at * 1.04**index) for point in points]
            _error_bars(axes, points, color=colour, marker=MARKERS[index % 8],
                        ls=DASHES[index // LINES % 4])  # fmt: skip
            for point in points:
                axes.plot([point.at] * len(point.seeds), point.seeds, ".", color=colour, alpha=0.5,
                          ms=5)  # fmt: skip
            ends.append((label, points[-1].at, points[-1].value, colour))
        every = sorted({point.at for points in curves.values() for point in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(every, [f"{at:g}" for at in every])
        axes.minorticks_off()
        axes.set(xlabel="rollout length N (tokens, logarithmic)", ylabel=unit)
        _grid(axes)
        right = axes.get_xlim()[1]
        for index, level in enumerate(levels):
            colour = COLOURS[(len(curves) + index) % LINES]
            axes.axhline(level.value, color=colour, ls=DASHES[1 + index % 3])
            axes.axhspan(level.low, level.high, color=colour, alpha=0.08, lw=0)
            ends.append((level.label, right, level.value, colour))
        axes.set_xlim(None, right)
        beside(axes, ends)


def steps(folder: Path, name: str, curves: dict[str, list[Point]], unit: str, kinds: Kinds) -> None:
    """Draws accuracy over the steps, one line per condition, each with its label at its end."""
    with figure(folder, name, size=(4.2, _height(len(curves))), kinds=kinds) as axes:
        ends = []
        for index, (label, points) in enumerate(curves.items()):
            style = {"color": COLOURS[index % LINES], "ls": DASHES[index // LINES % 4],
                     "marker": MARKERS[index % 8], "ms": 4}  # fmt: skip
            at = [point.at for point in points]
            axes.plot(at, [point.value for point in points], **style)
            if len(curves) <= SHADED:
                axes.fill_between(at, [point.low for point in points],
                                  [point.high for point in points], color=style["color"],
                                  alpha=0.12, lw=0)  # fmt: skip
            else:
                # Beside each other, not one over the other.
                apart = 0.012 * (index - len(curves) / 2) * (at[-1] - at[0])
                end = replace(points[-1], at=at[-1] + apart)
                _error_bars(axes, [end], color=style["color"], lw=0.8)
            ends.append((label, at[-1], points[-1].value, style["color"]))
        axes.set(xlabel="step", ylabel=unit)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _grid(axes)
        beside(axes, ends)


def phases(
    folder: Path, name: str, seconds: dict[str, dict[str, float]], peaks: dict[str, float],
    kinds: Kinds,
) -> None:  # fmt: skip
    """Draws seconds per step, stacked by phase, and peak memory in GiB, one row per condition."""
    labels = {condition: wrapped(condition, BROAD) for condition in seconds}
    height = sum(0.18 + 0.16 * (label.count("\n") + 1) for label in labels.values())
    with figure(folder, name, size=(7.2, 1.3 + height), panels=2, kinds=kinds) as (left, right):
        rows = list(seconds)[::-1]
        at = range(len(rows))
        begin = [0.0] * len(rows)
        parts = list(dict.fromkeys(part for condition in seconds.values() for part in condition))
        for index, part in enumerate(parts):
            width = [seconds[condition].get(part, 0.0) for condition in rows]
            left.barh(at, width, left=begin, color=COLOURS[index], label=part, height=0.6)
            begin = [a + b for a, b in zip(begin, width, strict=True)]
        for place, total in enumerate(begin):
            left.text(total, place, f" {total:.3g}", va="center")
        left.set_yticks(at, [labels[condition] for condition in rows])
        left.set(xlabel="seconds a step (medians)")
        left.margins(x=0.14)
        left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, handlelength=1,
                    columnspacing=1)  # fmt: skip
        right.barh(
            at, [peaks.get(condition, 0.0) for condition in rows], color=COLOURS[7], height=0.6
        )
        for place, condition in enumerate(rows):
            if condition in peaks:
                right.text(peaks[condition], place, f" {peaks[condition]:.2f}", va="center")
        right.set(xlabel="peak memory of the trainer (GiB)", yticks=[])
        right.margins(x=0.18)


def _height(labels: int) -> float:
    """The height of a figure in inches, in which so many labels have room."""
    return max(2.9, 0.2 * labels + 0.9)


def _error(points: Sequence[Point]) -> list[list[float]]:
    return [[p.value - p.low for p in points], [p.high - p.value for p in points]]


def _error_bars(axes: Any, points: list[Point], **style: Any) -> None:
    value = [point.value for point in points]
    axes.errorbar([p.at for p in points], value, yerr=_error(points), capsize=3, **style)


def _grid(axes: Any) -> None:
    axes.grid(axis="y", color=INK, alpha=0.12, lw=0.6)
