"""The figures of one run, drawn from its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from esr_cli.base.files import Rows, headlines, read_rows
from esr_cli.base.words import counted
from esr_cli.plots.style import figure

PHASES = ("generate", "score", "train", "sync")


def draw(run_dir: Path) -> list[Path]:
    """Writes `plots/` and returns its PNGs; skips a figure whose data are missing."""
    drawn = []
    figures: dict[str, tuple[str, Callable[[Any, Rows], None]]] = {
        "loss": ("metrics.jsonl", _loss),
        "kl_by_position": ("kl_by_position.jsonl", _profile),
        "accuracy": ("eval.jsonl", _accuracy),
        "phase_times": ("metrics.jsonl", _phases),
    }
    for name, (source, paint) in figures.items():
        if rows := read_rows(run_dir / source):
            with figure(run_dir / "plots", name) as axes:
                paint(axes, rows)
            drawn.append(run_dir / "plots" / f"{name}.png")
    return drawn


def _loss(axes: Any, rows: Rows) -> None:
    # A skipped step has no KL.
    points = [(r["step"], r["train/reverse_kl"]) for r in rows if "train/reverse_kl" in r]
    axes.plot([step for step, _ in points], [kl for _, kl in points], color="C0")
    axes.set(xlabel="step", ylabel="reverse KL (nats a token)", ylim=(0, None))
    axes.set_title("Reverse KL on the student's own text")


def _profile(axes: Any, rows: Rows) -> None:
    share = min(5, max(1, len(rows) // 2))
    for label, part, colour in (("first", rows[:share], "C7"), ("last", rows[-share:], "C0")):
        length = max(len(r["kl"]) for r in part)
        # Weighted by how many responses reached the position.
        count = [sum(_at(r["count"], i) for r in part) for i in range(length)]
        total = [sum(_at(r["kl"], i) * _at(r["count"], i) for r in part) for i in range(length)]
        means = [t / max(1, c) for t, c in zip(total, count, strict=True)]
        steps = counted(len(part), "step")
        axes.plot(range(1, length + 1), means, color=colour, label=f"{label} {steps}")
    axes.set(xlabel="response position (tokens)", ylabel="reverse KL (nats)", ylim=(0, None))
    axes.set_title("Where student and teacher differ")
    axes.legend()


def _at(values: list[float | None], index: int) -> float:
    # Null if no response had a position shared by both tokenizers.
    return (values[index] or 0) if index < len(values) else 0


def _accuracy(axes: Any, rows: Rows) -> None:
    shown = headlines(rows)
    for name in dict.fromkeys(row["benchmark"] for row in shown):
        own = [row for row in shown if row["benchmark"] == name]
        value = [row["value"] for row in own]
        below = [row["value"] - row["low"] for row in own]
        above = [row["high"] - row["value"] for row in own]
        label = f"{name} {own[0]['metric']}"
        steps = [row["step"] for row in own]
        axes.errorbar(steps, value, yerr=[below, above], marker="o", capsize=3, label=label)
    axes.set(xlabel="step", ylabel="accuracy, 95 % interval", ylim=(0, 1.02))
    axes.set_title("Accuracy on held-out problems")
    axes.legend(loc="lower right")


def _phases(axes: Any, rows: Rows) -> None:
    seconds = [median(r[f"time/{phase}_s"] for r in rows) for phase in PHASES]
    axes.barh(PHASES[::-1], seconds[::-1], color="C0")
    for place, value in enumerate(seconds[::-1]):
        axes.text(value, place, f" {value:.3f} s", va="center")
    axes.margins(x=0.15)
    axes.set(xlabel="seconds a step (median)")
    axes.set_title("Where a step's time goes")
