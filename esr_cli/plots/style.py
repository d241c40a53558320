"""How every figure looks, and how it is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cycler import cycler

# Text stays text in an SVG, and the same data give the same bytes.
# The ink is a colour of its own, so that a page can put its text colour in its place.
INK = "#1d1f23"
# Okabe and Ito's colours, which colour-blind readers tell apart, less those too pale on white or on
# black; the last is for what stays in the background.
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8064a2", "#8c8c8c",
)  # fmt: skip
SETTINGS: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color",
                     "ytick.color"), INK),
    "axes.prop_cycle": cycler(color=COLOURS),
    "svg.fonttype": "none", "svg.hashsalt": "esr", "font.size": 9, "axes.titlesize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
}  # fmt: skip


@contextmanager
def figure(
    folder: Path, name: str, size: tuple[float, float] = (6, 3.6), panels: int = 1
) -> Iterator[Any]:
    """The axes to paint on (a list of them where there are several `panels`, side by side).

    At the end it is written as `folder/name.png` and `folder/name.svg`; `size` is in inches.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(SETTINGS):
        sheet, axes = pyplot.subplots(1, panels, figsize=size, layout="constrained")
        try:
            yield axes
            folder.mkdir(parents=True, exist_ok=True)
            sheet.savefig(folder / f"{name}.png", dpi=150)
            sheet.savefig(folder / f"{name}.svg", metadata={"Date": None})
        finally:
            pyplot.close(sheet)
