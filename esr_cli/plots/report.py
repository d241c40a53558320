"""Draws the figures of a report from plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from esr_cli.plots.style import COLOURS, INK, figure

MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Point:
    """A mean with its 95 % interval at the position `at`, and the values of single seeds."""

    at: float
    value: float
    low: float
    high: float
    seeds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Level:
    """A horizontal line with its 95 % interval: a value that does not depend on N."""

    label: str
    value: float
    low: float
    high: float


def lengths(
    folder: Path, name: str, curves: dict[str, list[Point]], levels: Sequence[Level], unit: str
) -> None:
    """Draws accuracy against N."""
    with figure(folder, name, size=(6.4, 3.8)) as axes:
        for index, (label, points) in enumerate(curves.items()):
            colour = COLOURS[index % 7]
            # Shift each curve slightly, because curves share their values of N.
            points = [replace(point, at=point.at * 1.04**index) for point in points]
            at = [point.at for point in points]
            _error_bars(axes, points, color=colour, marker=MARKERS[index % 8], label=label)
            for x, point in zip(at, points, strict=True):
                axes.plot([x] * len(point.seeds), point.seeds, ".", color=colour, alpha=0.5, ms=5)
        for index, level in enumerate(levels):
            colour = COLOURS[(len(curves) + index) % 8]
            axes.axhline(level.value, color=colour, ls=DASHES[1 + index % 3], label=level.label)
            axes.axhspan(level.low, level.high, color=colour, alpha=0.08, lw=0)
        every = sorted({point.at for points in curves.values() for point in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(every, [f"{at:g}" for at in every])
        axes.minorticks_off()
        axes.set(xlabel="rollout length N (tokens, logarithmic)", ylabel=unit)
        _legend(axes)


def steps(folder: Path, name: str, curves: dict[str, list[Point]], unit: str) -> None:
    """Draws accuracy over the steps, one line per condition."""
    # One line of the legend takes 0.2 inches.
    height = max(3.8, 0.2 * len(curves) + 0.4)
    with figure(folder, name, size=(6.4, height)) as axes:
        for index, (label, points) in enumerate(curves.items()):
            kind = {"color": COLOURS[index % 7], "ls": DASHES[index // 7 % 4]}
            axes.plot([p.at for p in points], [p.value for p in points], label=label,
                      marker=MARKERS[index % 8], ms=4, **kind)  # fmt: skip
            if len(curves) <= 4:
                axes.fill_between([p.at for p in points], [p.low for p in points],
                                  [p.high for p in points], color=kind["color"], alpha=0.12,
                                  lw=0)  # fmt: skip
        axes.set(xlabel="step", ylabel=unit)
        _legend(axes)


def phases(
    folder: Path, name: str, seconds: dict[str, dict[str, float]], peaks: dict[str, float]
) -> None:
    """Draws seconds per step, stacked by phase, and peak memory in GiB, one row per condition."""
    size = (7.2, 1.3 + 0.34 * len(seconds))
    with figure(folder, name, size=size, panels=2) as (left, right):
        rows = list(seconds)[::-1]
        begin = [0.0] * len(rows)
        parts = list(dict.fromkeys(part for condition in seconds.values() for part in condition))
        for index, part in enumerate(parts):
            width = [seconds[condition].get(part, 0.0) for condition in rows]
            left.barh(rows, width, left=begin, color=COLOURS[index], label=part, height=0.6)
            begin = [a + b for a, b in zip(begin, width, strict=True)]
        for place, total in enumerate(begin):
            left.text(total, place, f" {total:.3g}", va="center")
        left.set(xlabel="seconds a step (medians)")
        left.margins(x=0.14)
        left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, handlelength=1,
                    columnspacing=1)  # fmt: skip
        right.barh(
            rows, [peaks.get(condition, 0.0) for condition in rows], color=COLOURS[7], height=0.6
        )
        for place, condition in enumerate(rows):
            if condition in peaks:
                right.text(peaks[condition], place, f" {peaks[condition]:.2f}", va="center")
        right.set(xlabel="peak memory of the trainer (GiB)", yticks=[])
        right.margins(x=0.18)


def _error_bars(axes: Any, points: list[Point], **kind: Any) -> None:
    value = [point.value for point in points]
    error = [[p.value - p.low for p in points], [p.high - p.value for p in points]]
    axes.errorbar([p.at for p in points], value, yerr=error, capsize=3, **kind)


def _legend(axes: Any) -> None:
    """Places the legend beside the axes, where it cannot cover a line."""
    axes.grid(axis="y", color=INK, alpha=0.12, lw=0.6)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), handlelength=2.2)
