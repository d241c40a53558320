"""Draws the pictures of docs/ideas.md from the results of a reproduction on the lab pair.

esr reproduce scale=lab quick=true run_dir=OUT
python scripts/draw_ideas.py OUT
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import Any

from esr_cli.base.files import Rows, read_rows
from esr_cli.plots.style import COLOURS, INK, figure

PICTURES = Path(__file__).parent.parent / "docs" / "ideas"
N, COLUMNS = 32, 16
# The KL in nats at which the colour saturates.
STRONG = 12.0
PHASES = {"generate": "student samples", "score": "teacher reads", "train": "student trains"}


def response(rows: Rows) -> None:
    """One response of the student before training, token by token, cut at N."""
    row = next(each for each in rows if each["who"] == "before")
    lines = -(-len(row["tokens"]) // COLUMNS)
    with figure(PICTURES, "response", (8.4, 0.38 * lines + 0.6)) as axes:
        for place, (token, kl) in enumerate(zip(row["tokens"], row["kl"], strict=True)):
            _token(axes, place, token, kl or 0.0)
        axes.set(xlim=(-0.1, COLUMNS + 0.1), ylim=(-lines - 0.1, 0.1))
        axes.axis("off")
        axes.set_title(
            f"A response: N = {N} tokens are sampled, scored and trained on; the pale ones are "
            "never sampled", loc="left",
        )  # fmt: skip


def _token(axes: Any, place: int, token: str, kl: float) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    line, column = divmod(place, COLUMNS)
    sampled = place < N
    # A stronger red is a higher KL; tokens past N are not sampled and have no KL.
    face = to_rgba(COLOURS[1], 0.08 + 0.72 * min(kl / STRONG, 1.0)) if sampled else "none"
    axes.add_patch(
        Rectangle(
            (column + 0.04, -line - 0.94), 0.92, 0.84, facecolor=face, lw=0.9 if sampled else 0.6,
            edgecolor=INK if sampled else "0.75", ls="-" if sampled else ":",
        )
    )  # fmt: skip
    axes.text(
        column + 0.5, -line - 0.53, token.strip() or "⏎", ha="center", va="center", fontsize=7.5,
        color=INK if sampled else "0.6",
    )  # fmt: skip


def step(runs: dict[str, Rows]) -> None:
    """The seconds of a step by phase: the median over the steps of each run."""
    with figure(PICTURES, "step", (8.4, 1.9)) as axes:
        for place, rows in enumerate(runs.values()):
            left = 0.0
            for (phase, label), colour in zip(PHASES.items(), COLOURS, strict=False):
                seconds = median(row[f"time/{phase}_s"] for row in rows)
                axes.barh(place, seconds, left=left, color=colour, height=0.55,
                          label=label if place == 0 else None)  # fmt: skip
                left += seconds
            axes.text(left, place, f"  {left:.2f} s", va="center", color=INK)
        axes.set_yticks(range(len(runs)), list(runs))
        axes.invert_yaxis()
        axes.set(xlabel="seconds", xlim=(0, axes.get_xlim()[1] * 1.08))
        axes.set_title("One step on the lab pair, 16 responses", loc="left")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=3)


def main() -> None:
    """Writes both pictures."""
    out = Path(sys.argv[1])
    response(read_rows(out / "runs" / "esr_32" / "seed=0" / "probes" / "samples.jsonl"))
    timed = {"ESR, N = 32": "time_esr_32", "full rollouts": "time_full"}
    step({label: read_rows(out / "timed" / name / "seed=0" / "metrics.jsonl")
          for label, name in timed.items()})  # fmt: skip
    for picture in PICTURES.glob("*.png"):
        picture.unlink()


if __name__ == "__main__":
    main()
