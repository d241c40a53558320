"""The paper's claims, judged: ours beside the paper's, and a verdict by a stated rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from esr_cli.reporting.book import Book, Group
from esr_cli.reporting.measures import MEASURES, Finding
from esr_cli.reporting.numbers import Number

SHOWS, DOES_NOT, NOISY, UNMEASURED = "shows", "does not show", "too noisy to say", "not measured"


@dataclass(frozen=True)
class Rule:
    """When a claim is shown: `side` (above, below) of `neutral`, by at least `least`; or `inside` a
    range.
    """

    side: str = ""
    neutral: float = 0.0
    least: float = 0.0
    inside: tuple[float, float] | None = None


@dataclass(frozen=True)
class Judged:
    """One line of the table of verdicts, as text; `number` is in the unit of the claim."""

    id: str
    statement: str
    paper: str
    ours: str
    what: str
    rule: str
    verdict: str
    number: Number | None


def verdict(low: float, high: float, rule: Rule) -> str:
    """What a 95 % interval says of a claim.

    An effect that is certain, but smaller than the least worth naming, does not show the claim.
    """
    if rule.inside:
        start, end = rule.inside
        if start <= low and high <= end:
            return SHOWS
        return DOES_NOT if high < start or low > end else NOISY
    sign = 1 if rule.side == "above" else -1
    near, far = sorted((sign * low, sign * high))
    if far < sign * rule.least:
        return DOES_NOT
    return SHOWS if near > sign * rule.neutral else NOISY


def judge(book: Book) -> list[Judged]:
    """Every claim, once for each place where it was measured; unmeasured ones once."""
    found: list[Judged] = []
    for claim in book.claims:
        lines = [
            _line(claim, group, finding, len(book.groups) > 1)
            for group in book.groups
            for finding in MEASURES[claim["measure"]](group, claim)
        ]
        found += lines or [_unmeasured(claim, book)]
    return found


def rule_of(claim: dict[str, Any], scale: dict[str, Any]) -> Rule:
    """A claim's rule at a scale."""
    inside = claim.get("inside")
    if isinstance(inside, str):
        inside = scale[inside]
    return Rule(
        claim.get("side", ""), float(claim.get("neutral", 0)), float(claim.get("least", 0)),
        tuple(inside) if inside else None,
    )  # fmt: skip


def _line(claim: dict[str, Any], group: Group, finding: Finding, several: bool) -> Judged:
    unit, rule = claim["unit"], rule_of(claim, group.scale)
    number = finding.number.scaled(100) if unit == "points" else finding.number
    paper = claim["paper"]
    if isinstance(paper, dict):
        paper = paper.get(finding.key, "–")
    what = f"{finding.what} ({group.name})" if several else finding.what
    return Judged(
        claim["id"], claim["statement"], paper, told(number, unit), what, _rule_text(rule, unit),
        verdict(number.low, number.high, rule), number,
    )  # fmt: skip


def _unmeasured(claim: dict[str, Any], book: Book) -> Judged:
    paper = claim["paper"]
    if isinstance(paper, dict):
        paper = "; ".join(f"{key.replace('_', ' ')} {text}" for key, text in paper.items())
    scale = book.groups[0].scale if book.groups else {}
    rule = "" if isinstance(claim.get("inside"), str) and not scale else _rule_text(
        rule_of(claim, scale), claim["unit"])  # fmt: skip
    return Judged(claim["id"], claim["statement"], paper, "–", "", rule, UNMEASURED, None)


def told(number: Number, unit: str) -> str:
    """A figure with its interval and its unit."""
    if not (math.isfinite(number.low) and math.isfinite(number.high)):
        return f"{_figure(number.value, unit)}{_unit(unit)}, no interval"
    low, high = _figure(number.low, unit), _figure(number.high, unit)
    return f"{_figure(number.value, unit)}{_unit(unit)} [{low}, {high}]"


def _figure(value: float, unit: str) -> str:
    if unit == "points":
        # A rounded zero has no sign.
        return f"{round(value, 1) + 0.0:+.1f}"
    if unit == "share":
        return f"{value:.0%}"
    return f"{value:.2f}" if unit == "times" else f"{value:.0f}"


def _unit(unit: str) -> str:
    return {"points": " points", "times": " times", "tokens": " tokens"}.get(unit, "")


def _rule_text(rule: Rule, unit: str) -> str:
    if rule.inside:
        return f"within {_figure(rule.inside[0], unit)} to {_figure(rule.inside[1], unit)}"
    neutral = "" if not rule.neutral else f"{rule.side} {_figure(rule.neutral, unit)}, "
    way = "or more" if rule.side == "above" else "or less"
    return f"{neutral}{_figure(rule.least, unit)} {way}"
