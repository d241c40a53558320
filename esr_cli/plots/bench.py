"""The figure of `esr bench`: seconds with their floor, and peak memory, over response length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.plots.style import figure


def draw(record: dict[str, Any], folder: Path) -> Path:
    """Writes bench.png and bench.svg from the contents of bench.json; returns the PNG."""
    longest = {(row["arm"], row["length"]): row["longest"] for row in record["work"]}
    with figure(folder, "bench", size=(8, 3.6), panels=2) as (left, right):
        for index, name in enumerate(dict.fromkeys(row["arm"] for row in record["rows"])):
            colour = f"C{index}"
            steps = [r for r in record["rows"] if r["arm"] == name and r["phase"] == "step"]
            left.plot(*_points(steps, longest, "seconds"), "o-", color=colour, label=name)
            if steps[0]["floor"] is not None:
                left.plot(
                    *_points(steps, longest, "floor"), ":", color=colour, label=f"{name}, floor"
                )
            peaks = [r for r in record["memory"] if r["arm"] == name and r["process"] == "trainer"]
            right.plot(*_points(peaks, longest, "gib"), "o-", color=colour, label=name)
        left.set(
            xlabel="longest response of a step (tokens)", ylabel="seconds a step", yscale="log"
        )
        left.set_title("Time")
        right.set(xlabel="longest response of a step (tokens)", ylabel="GiB", ylim=(0, None))
        right.set_title("Peak memory of the trainer")
        left.legend(fontsize=8)
    return folder / "bench.png"


def _points(rows: Rows, longest: dict[tuple[str, str], float], key: str) -> tuple[list[float], ...]:
    pairs = sorted((longest[row["arm"], row["length"]], row[key]) for row in rows)
    return [x for x, _ in pairs], [y for _, y in pairs]
