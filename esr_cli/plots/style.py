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
# Paul Tol's medium-contrast colours (SRON/EPS/TN/09-002): safe for the colour-blind, and apart in
# grey too, where their lightness is 29, 72, 52, 41 and 62. Then two more, and the background's.
COLOURS = (
    "#004488", "#ee99aa", "#997700", "#994455", "#6699cc", "#117733", "#aa4499", "#8c8c8c",
)  # fmt: skip
# Text stays text in an SVG, and the same data give the same bytes.
SETTINGS: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color",
                     "ytick.color"), INK),
    "axes.prop_cycle": cycler(color=COLOURS),
    # A dollar sign in a name is no formula.
    "text.parse_math": False,
    "svg.fonttype": "none", "svg.hashsalt": "esr", "font.size": 9, "axes.titlesize": 10,
    "pdf.fonttype": 42,  # the fonts are embedded as TrueType, which journals ask for
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
}  # fmt: skip
# The same data give the same bytes: no date.
OPTIONS: dict[str, dict[str, Any]] = {
    "png": {"dpi": 150}, "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None}},
}  # fmt: skip


@contextmanager
def figure(
    folder: Path, name: str, size: tuple[float, float] = (6, 3.6), panels: int = 1,
    kinds: Sequence[str] = ("png", "svg"),
) -> Iterator[Any]:  # fmt: skip
    """Yields the axes to paint on, or an array of them if `panels` (side by side) is above 1.

    On exit writes `folder/name.png` and `folder/name.svg`, or these `kinds` of files (or pdf).
    `size` is in inches; a file is as large as all that is drawn, so that no label is cut.
    """
    import matplotlib
    from matplotlib.figure import Figure

    # Not by pyplot: its backend, which a notebook sets, is for the windows of the user.
    with matplotlib.rc_context(SETTINGS):
        sheet = Figure(figsize=size, layout="constrained")
        yield sheet.subplots(1, panels)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            drawn = io.BytesIO()
            sheet.savefig(drawn, format=kind, bbox_inches="tight", **OPTIONS[kind])
            # Replaced, not opened: the name may be a link in a folder from a stranger.
            write_bytes(folder / f"{name}.{kind}", drawn.getvalue())
