"""The figures of one run, from its files alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

PHASES = ("generate", "score", "train", "sync")
Rows = list[dict[str, Any]]


def draw(run_dir: Path) -> list[Path]:
    """Writes `plots/*.png` and returns them; a figure whose data are missing is left out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder = run_dir / "plots"
    folder.mkdir(exist_ok=True)
    drawn = []
    figures: dict[str, tuple[str, Callable[[Any, Rows], None]]] = {
        "loss": ("metrics.jsonl", _loss),
        "kl_by_position": ("kl_by_position.jsonl", _profile),
        "accuracy": ("eval.jsonl", _accuracy),
        "phase_times": ("metrics.jsonl", _phases),
    }
    for name, (source, paint) in figures.items():
        rows = read_rows(run_dir / source)
        if not rows:
            continue
        figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
        paint(axes, rows)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(folder / f"{name}.png", dpi=150)
        pyplot.close(figure)
        drawn.append(folder / f"{name}.png")
    return drawn


def read_rows(path: Path) -> Rows:
    """The rows of a JSON lines file, none where it does not exist."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _loss(axes: Any, rows: Rows) -> None:
    # A skipped step has no KL.
    points = [(r["step"], r["train/reverse_kl"]) for r in rows if "train/reverse_kl" in r]
    axes.plot([step for step, _ in points], [kl for _, kl in points], color="C0")
    axes.set(xlabel="step", ylabel="reverse KL (nats a token)", ylim=(0, None))
    axes.set_title("Reverse KL on the student's own text", fontsize=10)


def _profile(axes: Any, rows: Rows) -> None:
    share = min(5, max(1, len(rows) // 2))
    for label, part, colour in (("first", rows[:share], "C7"), ("last", rows[-share:], "C0")):
        length = max(len(r["kl"]) for r in part)
        # Weighted by how many responses reached the position.
        count = [sum(_at(r["count"], i) for r in part) for i in range(length)]
        total = [sum(_at(r["kl"], i) * _at(r["count"], i) for r in part) for i in range(length)]
        means = [t / max(1, c) for t, c in zip(total, count, strict=True)]
        axes.plot(range(1, length + 1), means, color=colour, label=f"{label} {len(part)} steps")
    axes.set(xlabel="response position (tokens)", ylabel="reverse KL (nats)", ylim=(0, None))
    axes.set_title("Where student and teacher differ", fontsize=10)
    axes.legend(frameon=False)


def _at(values: list[float], index: int) -> float:
    return values[index] if index < len(values) else 0


def _accuracy(axes: Any, rows: Rows) -> None:
    value = [r["value"] for r in rows]
    below = [r["value"] - r["low"] for r in rows]
    above = [r["high"] - r["value"] for r in rows]
    axes.errorbar([r["step"] for r in rows], value, yerr=[below, above], marker="o", capsize=3)
    label = f"{rows[0]['benchmark']} {rows[0]['metric']}, 95 % interval"
    axes.set(xlabel="step", ylabel=label, ylim=(0, 1.02))
    axes.set_title("Accuracy on held-out problems", fontsize=10)


def _phases(axes: Any, rows: Rows) -> None:
    seconds = [median(r[f"time/{phase}_s"] for r in rows) for phase in PHASES]
    axes.barh(PHASES[::-1], seconds[::-1], color="C0")
    for place, value in enumerate(seconds[::-1]):
        axes.text(value, place, f" {value:.3f} s", va="center", fontsize=9)
    axes.margins(x=0.15)
    axes.set(xlabel="seconds a step (median)")
    axes.set_title("Where a step's time goes", fontsize=10)
