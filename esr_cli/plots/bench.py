"""Seconds and peak memory against the rollout length, with the floor below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.plots.style import figure


def draw(record: dict[str, Any], folder: Path) -> Path:
    """Writes bench.png and bench.svg from what bench.json holds; gives the PNG."""
    at = {(row["arm"], row["length"]): row["longest"] for row in record["work"]}
    with figure(folder, "bench", size=(8, 3.6), panels=2) as (left, right):
        for index, arm in enumerate(dict.fromkeys(row["arm"] for row in record["rows"])):
            colour = f"C{index}"
            steps = [r for r in record["rows"] if r["arm"] == arm and r["phase"] == "step"]
            left.plot(*_points(steps, at, "seconds"), "o-", color=colour, label=arm)
            if steps[0]["floor"] is not None:
                left.plot(*_points(steps, at, "floor"), ":", color=colour, label=f"{arm}, floor")
            peaks = [r for r in record["memory"] if r["arm"] == arm and r["process"] == "trainer"]
            right.plot(*_points(peaks, at, "gib"), "o-", color=colour, label=arm)
        left.set(
            xlabel="longest response of a step (tokens)", ylabel="seconds a step", yscale="log"
        )
        left.set_title("Time")
        right.set(xlabel="longest response of a step (tokens)", ylabel="GiB", ylim=(0, None))
        right.set_title("Peak memory of the trainer")
        left.legend(fontsize=8)
    return folder / "bench.png"


def _points(rows: Rows, at: dict[tuple[str, str], float], key: str) -> tuple[list[float], ...]:
    pairs = sorted((at[row["arm"], row["length"]], row[key]) for row in rows)
    return [x for x, _ in pairs], [y for _, y in pairs]
