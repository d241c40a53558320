"""The common style of all figures, and how they are written."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cycler import cycler

from esr_cli.base.files import write_bytes

# A distinct ink colour, so that a page can replace it with its own text colour.
INK = "#1d1f23"
# Okabe and Ito's colour-blind-safe palette, without the colours too pale on white or on black. The
# last one is for the background.
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8064a2", "#8c8c8c",
)  # fmt: skip
# Text stays text in an SVG, and the same data give the same bytes.
SETTINGS: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color",
                     "ytick.color"), INK),
    "axes.prop_cycle": cycler(color=COLOURS),
    # A dollar sign in a name is no formula.
    "text.parse_math": False,
    "svg.fonttype": "none", "svg.hashsalt": "esr", "font.size": 9, "axes.titlesize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
}  # fmt: skip


@contextmanager
def figure(
    folder: Path, name: str, size: tuple[float, float] = (6, 3.6), panels: int = 1,
    kinds: Sequence[str] = ("png", "svg"),
) -> Iterator[Any]:  # fmt: skip
    """Yields the axes to paint on, or an array of them if `panels` (side by side) is above 1.

    On exit writes `folder/name.png` and `folder/name.svg`, or only one of these `kinds`;
    `size` is in inches.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(SETTINGS):
        sheet, axes = pyplot.subplots(1, panels, figsize=size, layout="constrained")
        try:
            yield axes
            folder.mkdir(parents=True, exist_ok=True)
            for kind in kinds:
                drawn, options = io.BytesIO(), {"metadata": {"Date": None}}
                sheet.savefig(drawn, format=kind, **({"dpi": 150} if kind == "png" else options))
                # Replaced, not opened: the name may be a link in a folder from a stranger.
                write_bytes(folder / f"{name}.{kind}", drawn.getvalue())
        finally:
            pyplot.close(sheet)
