"""The figures of `esr probe`, drawn from the rows of its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.plots import probe_bars, probe_curves, samples
from esr_cli.plots.style import figure

# By probe: the painter, the number of panels, and the size of the figure in inches.
PAINTERS: dict[str, tuple[Callable[[Any, Rows], None], int, tuple[float, float]]] = {
    "decay": (probe_curves.decay, 2, (10, 4.2)),
    "profile": (probe_curves.profile, 2, (9.5, 4.2)),
    "cascade": (probe_curves.cascade, 1, (6, 4.0)),
    "commitment": (probe_bars.commitment, 2, (9.5, 3.3)),
    "categories": (probe_bars.categories, 2, (10.5, 4.8)),
    "stability": (probe_curves.stability, 3, (11, 3.4)),
}


def draw(
    name: str, rows: Rows, folder: Path, title: str, kinds: Sequence[str] = ("png", "svg")
) -> None:
    """Writes `name.png` and `name.svg` (samples: `samples.html`) into `folder`."""
    if name == "samples":
        samples.write(folder / "samples.html", rows, title)
        return
    paint, panels, size = PAINTERS[name]
    with figure(folder, name, size, panels, kinds) as axes:
        paint(axes, rows)
        first = axes if panels == 1 else axes[0]
        first.figure.suptitle(title, fontsize=8, color="0.4", x=0.01, ha="left")
