"""Stability: all figures of a run's evaluations by step, and the fall of accuracy from its peak.

Reads only files: `eval.jsonl`, and `generations.jsonl` for the paired interval and the boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from esr_cli.base.statistics import Interval, mean_interval, paired
from esr_cli.probe.analyses.reads import Rows, row
from esr_cli.runs.record import BOX, key_of, share_of_several_boxes, share_right


def rows(evals: Rows, generations: Rows) -> Rows:
    """Rows of `eval.jsonl` in long form; for each benchmark the peak, the lowest later value and
    the fall between them.
    """
    found = [
        row(
            each["metric"], (each["value"], each["low"], each["high"]),
            benchmark=each["benchmark"], at=each["step"], n=each["n"],
        )
        for each in evals
    ]  # fmt: skip
    found += _boxes(generations)
    for name in dict.fromkeys(each["benchmark"] for each in evals):
        headlines = [
            each for each in evals
            if each["benchmark"] == name and each["metric"].startswith("avg@")
        ]  # fmt: skip
        responses = [each for each in generations if each["benchmark"] == name]
        found += _fall(name, headlines, responses)
    return found


def _boxes(generations: Rows) -> Rows:
    """The share of responses with several boxes, for benchmarks with boxed answers."""
    several: dict[tuple[str, int], list[float]] = {}
    samples: dict[tuple[str, int], int] = {}
    boxed = set()
    for each in generations:
        key = key_of(each)
        several.setdefault(key, []).append(share_of_several_boxes(each))
        samples[key] = len(each["responses"])
        if any(BOX in text for text in each["responses"]):
            boxed.add(each["benchmark"])
    return [
        row("several_boxes", mean_interval(shares, samples[name, step]),
            benchmark=name, at=step, n=len(shares))
        for (name, step), shares in several.items() if name in boxed
    ]  # fmt: skip


def _fall(name: str, evals: Rows, generations: Rows) -> Rows:
    # The first of equal peaks: a plateau has no fall.
    peak = max(evals, key=lambda each: (each["value"], -each["step"]))
    later = [each for each in evals if each["step"] >= peak["step"]]
    low = min(later, key=lambda each: (each["value"], each["step"]))
    fields = {"benchmark": name, "metric": peak["metric"]}
    fall: Interval | float = peak["value"] - low["value"]
    scores = [_scores(generations, each["step"]) for each in (low, peak)]
    both = [question for question in scores[0] if question in scores[1]]
    if both and low is not peak:
        fall = paired(*([by_id[question] for question in both] for by_id in scores))
    values = [(each["value"], each["low"], each["high"]) for each in (peak, low)]
    steps = {"peak_step": peak["step"], "step": low["step"]}
    return [
        row("peak", values[0], **fields, step=peak["step"], n=peak["n"]),
        row("lowest_after_peak", values[1], **fields, step=low["step"], n=low["n"]),
        row("fall", fall, **fields, **steps, n=len(both) or peak["n"]),
    ]


def _scores(generations: Rows, step: int) -> dict[str, float]:
    """The share of correct responses to each question at a step."""
    own: Sequence[dict[str, Any]] = [each for each in generations if each["step"] == step]
    # Questions that could not be judged have no verdicts.
    return {each["id"]: share_right(each) for each in own if each.get("correct")}


def headline(found: Rows) -> str:
    """The fall of each benchmark, in one line."""
    parts = []
    for each in found:
        if each["figure"] == "fall":
            spread = f" [{each['low']:.3f}, {each['high']:.3f}]" if "low" in each else ""
            parts.append(f"{each['benchmark']}: fell by {each['value']:.3f}{spread} from its peak "
                        f"(step {each['peak_step']} to {each['step']})")  # fmt: skip
    return "; ".join(parts)
