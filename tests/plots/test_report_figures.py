"""The figures of a report: no label covers another or is cut, and colours differ in grey."""

from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from esr_cli.plots import report as draw
from esr_cli.plots.labels import around, beside
from esr_cli.plots.style import COLOURS, figure

LABELS = ["full rollouts", *(f"ESR N={n}, learning rate 0.0002, all questions" for n in range(9))]


@pytest.mark.parametrize("place", ["beside", "around"])
def test_labels_cover_no_label_and_are_in_the_picture(tmp_path, place):
    # All ten lie within a hundredth of the axis.
    spots = [(label, 1.0 + 0.02 * at, 50 + 0.1 * at) for at, label in enumerate(LABELS)]
    with figure(tmp_path, "labels", size=(5, 3.6)) as axes:
        axes.plot([0, 2], [0, 100])
        if place == "beside":
            beside(axes, [(*spot, "C0") for spot in spots])
        else:
            around(axes, [(*spot, spot[2], spot[2]) for spot in spots], [])
        sheet = axes.figure
        sheet.draw_without_rendering()
        texts = [each for each in axes.texts if each.get_text()]
        boxes = [Text.get_window_extent(each) for each in texts]  # without the line to the point
        assert len(boxes) == len(LABELS)
        covered = [
            (a, b) for a, b in combinations(range(len(boxes)), 2)
            if min(boxes[a].x1, boxes[b].x1) - max(boxes[a].x0, boxes[b].x0) > 1
            and min(boxes[a].y1, boxes[b].y1) - max(boxes[a].y0, boxes[b].y0) > 1
        ]  # fmt: skip
        assert covered == []
        # What is saved is the tight box of the sheet, in inches.
        tight = sheet.get_tightbbox()
        for box in boxes:
            assert tight.x0 * sheet.dpi <= box.x0 and box.x1 <= tight.x1 * sheet.dpi + 1
            assert tight.y0 * sheet.dpi <= box.y0 and box.y1 <= tight.y1 * sheet.dpi + 1


def lightness(colour: str) -> float:
    """L* of CIELAB, which is what is left of a colour in grey."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    y = sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * y ** (1 / 3) - 16


def test_colours_of_lines_differ_in_grey_and_from_paper():
    found = [lightness(colour) for colour in COLOURS[: draw.LINES]]
    assert min(abs(a - b) for a, b in combinations(found, 2)) > 9
    assert max(found) < 75


def test_equal_data_give_equal_files(tmp_path):
    places = [draw.Place("ESR N=8", draw.Point(900.0, 50, 40, 60), 900.0, 900.0)]
    for folder in ("one", "two"):
        draw.costs(tmp_path / folder, "costs", places, [], ("tokens", "%"), ("svg", "pdf", "png"))
    for kind in ("svg", "pdf", "png"):
        one, two = (tmp_path / folder / f"costs.{kind}" for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), kind
