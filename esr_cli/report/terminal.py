"""The report on the terminal: what fits into a screen of 25 lines."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence

from esr_cli.base.reading import printable
from esr_cli.base.words import counted
from esr_cli.report.answers import answers, compact, is_more_than_noise, notes
from esr_cli.report.facts import duration
from esr_cli.report.panels import Line, Panel
from esr_cli.report.sections import Section

MOST = 25
# Unreadable folders that are named.
NAMED = 4


def screen(
    sections: Sequence[Section], unreadable: Sequence[str], claims: str, ends: Sequence[str]
) -> str:
    """The lines of the terminal: unreadable folders, the runs, a line on the paper's claims, and
    `ends`: runs that are in no table, and the paths of what was written.

    A line that is wider than the terminal counts as several.
    """
    width = max(40, shutil.get_terminal_size((80, 25)).columns)
    first = [*unreadable[:NAMED]]
    if len(unreadable) > NAMED:
        first.append(
            f"and {len(unreadable) - NAMED} more unreadable folders; the report names them"
        )
    last = [claims, *ends]
    panels = [section.panel for section in sections if section.panel]
    room = MOST - _rows([*first, *last], width)
    parts = _fitting(panels, room, width)
    if not panels:
        parts = ["no run is complete and was graded"]
    return "\n".join(printable(line.replace("\n", " ")) for line in [*first, *parts, *last])


def _fitting(panels: Sequence[Panel], room: int, width: int) -> list[str]:
    """The panels that fit into so many lines, each with as many conditions as fit."""
    found: list[str] = []
    for index, panel in enumerate(panels):
        left = len(panels) - index - 1
        shown = _panel(panel, room - min(left, 1), width)
        if not shown:
            return [*found, f"and {counted(left + 1, 'more table')} in the report"]
        found += shown
        room -= _rows(shown, width)
    return found


def _panel(panel: Panel, room: int, width: int) -> list[str]:
    """A panel in at most `room` lines, without some of its conditions; empty if none would fit."""
    frame = [f"{each.question.removesuffix('?')}: {each.text}" for each in answers(panel)]
    frame += [f"note: {each}" for each in notes(panel)]
    title = f"{panel.group.name}: {panel.name}"
    for count in range(len(panel.lines), 0, -1):
        kept = {id(line) for line in panel.ranked[:count]}
        lines = [line for line in panel.lines if id(line) in kept]
        rest = len(panel.lines) - count
        more = [f"and {rest} more in the report"] if rest else []
        star = ["*: more than noise"] if any(map(_is_marked, lines)) else []
        found = [title, *_table(panel, lines), *star, *more, *frame]
        if _rows(found, width) <= room:
            return found
    return []


def _table(panel: Panel, lines: Sequence[Line]) -> list[str]:
    """A line for each condition, in columns."""
    head = ("condition", f"{panel.unit}s", "accuracy, %", f"minus {panel.reference.label}",
            "tokens", "time", "GiB")  # fmt: skip
    rows = [head, *map(_cells, lines)]
    if len(panel.lines) == 1:
        rows = [(*row[:3], *row[4:]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(wide) for text, wide in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _is_marked(line: Line) -> bool:
    return line.difference is not None and is_more_than_noise(line.difference)


def _cells(line: Line) -> tuple[str, ...]:
    gap, share = line.difference, line.accuracy
    mark = "*" if _is_marked(line) else ""
    return (
        line.label, str(len(line.condition.units)), _interval(share.value, share.low, share.high),
        f"{_interval(gap.value, gap.low, gap.high, '+')}{mark}" if gap else "–",
        compact(line.tokens.value) if line.tokens else "–",
        duration(line.seconds.value) if line.seconds else "–",
        f"{line.peak_gib.value:.1f}" if line.peak_gib else "–",
    )  # fmt: skip


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    value, low, high = (100 * each for each in (value, low, high))
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def _rows(lines: Sequence[str], width: int) -> int:
    """The rows of a terminal that the lines take."""
    return sum(max(1, math.ceil(len(line) / width)) for line in lines)
