"""What a panel of runs answers: which condition is best, whether that is noise, what it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from esr_cli.base.seeds import FEW_SEEDS
from esr_cli.base.words import counted
from esr_cli.report.claims import format_number
from esr_cli.report.facts import duration
from esr_cli.report.number import Number
from esr_cli.report.panels import Line, Panel

# A rival is called cheaper if it sampled less than this share of the best one's tokens.
CHEAPER = 0.9


@dataclass(frozen=True)
class Answer:
    """A question that the runs answer, in a word or two, and the answer."""

    question: str
    text: str


def answers(panel: Panel) -> list[Answer]:
    """The best condition, whether its lead is more than noise, and what it cost."""
    best = panel.ranked[0]
    begun = panel.start
    start = f"; the student began at {percent(begun)}" if begun else ""
    found = [Answer("Best", f"{best.label}, {percent(best.accuracy)}{start}.")]
    found.append(Answer("More than noise?", _lead(panel)))
    if cost := _cost(panel):
        found.append(Answer("Cost", cost))
    return found


def notes(panel: Panel) -> list[str]:
    """What the intervals of a panel do not cover."""
    alone = [line.label for line in panel.lines if len(line.condition.units) == 1]
    if alone:
        which = "" if len(alone) == len(panel.lines) else f" ({', '.join(alone)})"
        return [
            f"One {panel.unit}{which}: the intervals cover other questions and no other "
            f"{panel.unit}, so they compare these trained models, not their settings."
        ]
    few = panel.unit == "seed" and panel.seeds <= 3
    return [f"{FEW_SEEDS[0].upper()}{FEW_SEEDS[1:]}."] if few else []


def rivals(panel: Panel) -> list[Line]:
    """The conditions that cannot be told apart from the best: their difference may be zero."""
    best, *others = panel.ranked
    return [line for line in others if not _behind(panel.minus(best.condition, line.condition))]


def is_more_than_noise(number: Number) -> bool:
    """Whether the interval of a difference excludes zero."""
    return number.low > 0 or number.high < 0


def percent(number: Number) -> str:
    """A share with its interval, in per cent."""
    value, low, high = (100 * each for each in (number.value, number.low, number.high))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def compact(value: float) -> str:
    """A large count in at most five characters: `8,192`, `410k`, `1.6M`."""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.{1 if value < 10 * size else 0}f}{unit}"
    return f"{value / 1e3:.0f}k" if value >= 1e4 else f"{value:,.0f}"


def _behind(lead: Number | None) -> bool:
    return lead is not None and lead.low > 0


def _lead(panel: Panel) -> str:
    best, *others = panel.ranked
    if not others:
        before = panel.gain
        gain = f" Its gain over the start is {_points(before)}." if before else ""
        return f"Not known: there is no other condition to compare it with.{gain}"
    near = rivals(panel)
    if not near:
        lead = panel.minus(best.condition, others[0].condition)
        assert lead  # otherwise the condition could not be told apart
        what = f"its lead over the next best, {others[0].label}, is {_points(lead)}."
        known = len(lead.seeds) or min(len(x.condition.units) for x in (best, others[0]))
        if known > 1:
            return f"Yes: {what}"
        return f"Over other questions yes: {what} Over other {panel.unit}s nothing is known."
    lead = panel.minus(best.condition, near[0].condition)
    gap = f", {_points(lead)}," if lead else ""
    more = len(near) - 1
    also = f"; {counted(more, 'other condition')} cannot be told apart from it either"
    return f"No: its lead over {near[0].label}{gap} is within noise{also if more else ''}."


def _cost(panel: Panel) -> str:
    best = panel.ranked[0]
    parts = []
    if best.tokens:
        parts.append(f"{best.tokens.value:,.0f} tokens sampled")
    if best.seconds:
        parts.append(f"{duration(best.seconds.value)} of training")
    if best.peak_gib:
        parts.append(f"{best.peak_gib.value:.2f} GiB at the peak")
    if not parts:
        return ""
    text = ", ".join(parts)
    reference = next(line for line in panel.lines if line.condition is panel.reference)
    if reference is not best:
        text += _shares(best, reference)
    cheaper = [line for line in rivals(panel) if (share := _share(line, best)) and share < CHEAPER]
    if cheaper:
        cheapest = min(cheaper, key=lambda line: _share(line, best) or math.inf)
        share = _share(cheapest, best) or 0.0
        text += (f". Cheapest of those that cannot be told apart: {cheapest.label}, with "
                 f"{share:.0%} of its tokens")  # fmt: skip
    return f"{text}."


def _share(line: Line, of: Line) -> float | None:
    """The tokens of a line as a share of those of another."""
    if not line.tokens or not of.tokens or of.tokens.value <= 0:
        return None
    return line.tokens.value / of.tokens.value


def _shares(line: Line, reference: Line) -> str:
    words = []
    if (share := _share(line, reference)) is not None:
        words.append(f"{share:.0%} of the tokens")
    machines = line.condition.machines
    alike = machines and machines == reference.condition.machines
    if alike and line.seconds and reference.seconds and reference.seconds.value > 0:
        words.append(f"{line.seconds.value / reference.seconds.value:.0%} of the seconds")
    return f"; {' and '.join(words)} of {reference.label}" if words else ""


def _points(number: Number) -> str:
    return format_number(number.scaled(100), "points")
