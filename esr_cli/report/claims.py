"""Judges the paper's claims: our figure beside the paper's, and a verdict by a stated rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from esr_cli.report.book import Book, Group
from esr_cli.report.measures import MEASURES, Finding, why_not
from esr_cli.report.numbers import Number

SHOWS, DOES_NOT, NOISY, UNMEASURED = "shows", "does not show", "too noisy to say", "not measured"


@dataclass(frozen=True)
class Rule:
    """When a figure shows a claim.

    Either it lies on the `side` (above, below) of `neutral` and reaches `least`, or its interval
    lies `inside` a range, or its interval is no higher than `at_most`.
    """

    side: str = ""
    neutral: float = 0.0
    least: float = 0.0
    inside: tuple[float, float] | None = None
    at_most: float | None = None


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


def verdict(value: float, low: float, high: float, rule: Rule) -> str:
    """Judges a claim by a figure and its 95 % interval.

    An effect that is certain but smaller than `rule.least` does not show the claim.
    """
    if rule.at_most is not None:
        # Only a gain of a longer N counts against the claim, not a loss.
        return SHOWS if high <= rule.at_most else DOES_NOT if low > rule.at_most else NOISY
    if rule.inside:
        start, end = rule.inside
        if start <= low and high <= end:
            return SHOWS
        return DOES_NOT if high < start or low > end else NOISY
    sign = 1 if rule.side == "above" else -1
    near, far = sorted((sign * low, sign * high))
    if far < sign * rule.least:
        return DOES_NOT
    reached = sign * value >= sign * rule.least
    return SHOWS if near > sign * rule.neutral and reached else NOISY


def judge(book: Book) -> list[Judged]:
    """Judges every claim once per group in which it was measured or the reason why not is known.
    A claim without such a group has one line.
    """
    judged: list[Judged] = []
    for claim in book.claims:
        lines: list[Judged] = []
        for group in _groups_of(claim, book):
            measured = MEASURES[claim["measure"]](group, claim)
            group_lines = [_line(claim, group, finding, book) for finding in measured]
            if not group_lines and (why := why_not(group, claim)):
                group_lines = [_unmeasured(claim, book, group, why + _where(group, book))]
            lines += group_lines
        judged += lines or [_unmeasured(claim, book, None, "")]
    return judged


def rule_of(claim: dict[str, Any], scale: dict[str, Any]) -> Rule:
    """A claim's rule at a scale of claims.yaml."""
    inside = claim.get("inside")
    if isinstance(inside, str):
        inside = scale[inside]
    return Rule(
        claim.get("side", ""), float(claim.get("neutral", 0)), float(claim.get("least", 0)),
        tuple(inside) if inside else None, claim.get("at_most"),
    )  # fmt: skip


def _groups_of(claim: dict[str, Any], book: Book) -> list[Group]:
    tasks = claim.get("tasks")
    return [group for group in book.groups if tasks is None or group.task in tasks]


def _line(claim: dict[str, Any], group: Group, finding: Finding, book: Book) -> Judged:
    unit, rule = claim["unit"], rule_of(claim, group.scale)
    number = finding.number.scaled(100) if unit == "points" else finding.number
    outcome = verdict(number.value, number.low, number.high, rule)
    if finding.compares and finding.seeds < 2:
        outcome = NOISY
    words = [finding.what] if not finding.seeds else [finding.what, seeds(finding.seeds)]
    what = ", ".join(words) + _where(group, book)
    paper = _paper(claim, group, finding.key, book)
    return Judged(claim["id"], claim["statement"], paper, format_number(number, unit), what,
                  _rule_text(rule, unit), outcome, number)  # fmt: skip


def _where(group: Group, book: Book) -> str:
    return f" ({group.name})" if len(book.groups) > 1 else ""


def _paper(claim: dict[str, Any], group: Group | None, key: str | None, book: Book) -> str:
    """The paper's figure for a claim.

    The figure in claims.yaml is for the paper's main pair and task, and the lab is compared with
    it. Other groups take theirs from the paper's tables. Of several figures, returns the one with
    the key, or all of them without a key.
    """
    main = tuple(book.paper["main"])
    if not group or group.scale["name"] == "lab" or (group.pair, group.task) == main:
        paper = claim["paper"]
        if not isinstance(paper, dict):
            return paper
        each = (f"{name.replace('_', ' ')} {text}" for name, text in paper.items())
        return "; ".join(each) if key is None else paper.get(key, "–")
    return _gain(group, book) if claim.get("in_tables") else "–"


def _gain(group: Group, book: Book) -> str:
    """The gain of ESR over full rollouts in the paper's tables, for the group's pair, tuning and
    benchmark.
    """
    key = f"esr_{group.scale['n']}"
    for spec in book.paper["tables"].values():
        rows = spec["rows"].get(group.pair, {}) if spec["shape"] == "arms" else {}
        if key not in rows or "full" not in rows or spec.get("tune", "lora") != group.scale["tune"]:
            continue
        for index, column in enumerate(spec["columns"]):
            # The first alternative of a column is the paper's metric; the others are ours.
            if column.split("|")[0] == f"{group.benchmark}/avg@":
                pair = [rows[name][index : index + 1] for name in (key, "full")]
                if all(pair) and None not in (pair[0][0], pair[1][0]):
                    ours, full = pair[0][0], pair[1][0]
                    return f"{ours - full:+.2f} points ({ours:.2f} against {full:.2f})"
    return "–"


def _unmeasured(claim: dict[str, Any], book: Book, group: Group | None, why: str) -> Judged:
    paper, groups = _paper(claim, group, None, book), _groups_of(claim, book)
    scale = group.scale if group else groups[0].scale if groups else {}
    rule = "" if isinstance(claim.get("inside"), str) and not scale else _rule_text(
        rule_of(claim, scale), claim["unit"])  # fmt: skip
    return Judged(claim["id"], claim["statement"], paper, "–", why, rule, UNMEASURED, None)


def seeds(count: int) -> str:
    """The number of seeds in words; 0 means that the two sides share no seed."""
    return {0: "different seeds", 1: "one seed"}.get(count, f"{count} seeds")


def format_number(number: Number, unit: str) -> str:
    """A figure with its unit and its interval."""
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
    if rule.at_most is not None:
        return f"no more than {_figure(rule.at_most, unit)}"
    neutral = "" if not rule.neutral else f"{rule.side} {_figure(rule.neutral, unit)}, "
    way = "or more" if rule.side == "above" else "or less"
    return f"{neutral}{_figure(rule.least, unit)} {way}"
