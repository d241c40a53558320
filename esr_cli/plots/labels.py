"""Labels beside what they name, without overlaps, in place of a legend."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

# Characters of a line of a label, and of a longer one beside the axes.
NARROW, BROAD = 18, 30
# Offsets of a label from its point in points, the nearest first: right, left, above and below.
RINGS = (7, 16, 28, 44, 64, 90)
FAR = 1e5
SIDES = ((1, 0), (1, 0.7), (1, -0.7), (0, 1), (0, -1), (-1, 0.7), (-1, -0.7), (-1, 0))


def wrapped(label: str, width: int) -> str:
    """The label in lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(label, width)) or label


def beside(axes: Any, ends: Sequence[tuple[str, float, float, Any]]) -> None:
    """Labels to the right of the axes, each with a line to the end of its curve.

    `ends` has label, x and y in data coordinates, and colour. Labels are moved apart vertically.
    The layout of the figure is final afterwards.
    """
    pixels = _frozen(axes)
    left = axes.get_window_extent().x1 / pixels + 22
    found = []
    for label, x, y, colour in sorted(ends, key=lambda end: end[2]):
        text = axes.annotate(
            wrapped(label, BROAD), (left, 0), xycoords="figure points", va="center", fontsize=8,
            annotation_clip=False,
        )  # fmt: skip
        at = axes.transData.transform((x, y)) / pixels
        found.append((text, at, text.get_window_extent().height / pixels + 2, colour))
    wanted = [at[1] for _, at, _, _ in found]
    for (text, at, _, colour), middle in zip(
        found, _apart(wanted, [height for *_, height, _ in found]), strict=True
    ):
        text.set_position((left, middle))
        axes.annotate(
            "", (at[0], at[1]), (left - 2, middle), xycoords="figure points",
            textcoords="figure points", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkA": 0, "shrinkB": 4},
        )  # fmt: skip


def around(
    axes: Any, points: Sequence[tuple[str, float, float, float, float]], taken: Sequence[Any]
) -> None:
    """A label near each point, where it covers neither another label nor a line in `taken`.

    `points` has label, x, y, and the ends of the bar above and below, `taken` the ends of lines,
    all in data coordinates. A thin line joins a distant label to its point. The layout of the
    figure is final afterwards.
    """
    pixels = _frozen(axes)
    move = axes.transData.transform
    frame = axes.get_window_extent()
    # The ticks and their labels, to the left and below.
    boxes = [(-FAR, -FAR, frame.x0, FAR), (-FAR, -FAR, FAR, frame.y0)]
    boxes += [_box(move(a), move(b), 4 * pixels) for a, b in taken]
    for label, x, y, top, bottom in points:
        text = axes.annotate(
            wrapped(label, NARROW), (x, y), (0, 0), textcoords="offset points", fontsize=8,
            ha="center", va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": "0.6", "shrinkA": 0, "shrinkB": 3},
        )  # fmt: skip
        at, size = move((x, y)), text.get_window_extent()
        best = None
        # Above and below it lies beyond the bar.
        beyond = {1: move((x, top))[1] - at[1], -1: move((x, bottom))[1] - at[1]}
        for ring in RINGS:
            for right, up in SIDES:
                ends = 0 if right else beyond[round(up)]
                offset = (right * (ring * pixels + size.width / 2),
                          up * (ring * pixels + size.height / 2) + ends)  # fmt: skip
                box = _box(at + offset - (size.width / 2, size.height / 2),
                           at + offset + (size.width / 2, size.height / 2), pixels)  # fmt: skip
                covered = sum(_overlap(box, each) for each in boxes)
                if best is None or covered < best[0]:
                    best = (covered, offset, box, ring)
            if best and best[0] == 0:
                break
        assert best
        text.set_position((best[1][0] / pixels, best[1][1] / pixels))
        if best[3] <= RINGS[1]:
            text.arrow_patch.set_visible(False)
        boxes.append(best[2])


def _frozen(axes: Any) -> float:
    """Ends the automatic layout, so that positions on the sheet stay; returns pixels a point."""
    sheet = axes.figure
    sheet.draw_without_rendering()
    sheet.set_layout_engine("none")
    return sheet.dpi / 72


def _apart(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Middles near the `wanted` ones, in ascending order, of labels that do not overlap.

    Labels that would overlap form a block, which is centred on what its members want.
    """
    blocks: list[tuple[list[int], float]] = []  # members, and the middle of the block
    for index, want in enumerate(wanted):
        block = ([index], want)
        while blocks:
            members, middle = blocks[-1]
            high = middle + _height(members, heights) / 2
            low = block[1] - _height(block[0], heights) / 2
            if high <= low:
                break
            members = [*blocks.pop()[0], *block[0]]
            block = (members, sum(wanted[each] for each in members) / len(members))
        blocks.append(block)
    found = []
    for members, middle in blocks:
        low = middle - _height(members, heights) / 2
        for each in members:
            found.append(low + heights[each] / 2)
            low += heights[each]
    return found


def _height(members: Sequence[int], heights: Sequence[float]) -> float:
    return sum(heights[each] for each in members)


def _box(a: Any, b: Any, margin: float) -> tuple[float, float, float, float]:
    return (min(a[0], b[0]) - margin, min(a[1], b[1]) - margin,
            max(a[0], b[0]) + margin, max(a[1], b[1]) + margin)  # fmt: skip


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)
