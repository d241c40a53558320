"""Judges the paper's claims: our figure beside the paper's, and a verdict by a stated rule."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from esr_cli.base.seeds import FEW_SEEDS
from esr_cli.report.book import Book, Group
from esr_cli.report.measures import MEASURES, Finding, why_not
from esr_cli.report.number import Number, logarithm
from esr_cli.report.paper import paper_figure
from esr_cli.report.verdicts import (
    NOISY,
    SHOWS,
    UNMEASURED,
    Rule,
    kept,
    p_value,
    smallest,
    verdict,
)

FEW = "†"
NO_RULE = Rule()
# Points, shares and ratios that can be: a difference of more than 100 points cannot.
FEASIBLE = {"points": (-100.0, 100.0), "share": (-1.0, 1.0)}


@dataclass(frozen=True)
class Judged:
    """One line of the table of verdicts, as text; `number` is in the unit of the claim.

    `could` is the smallest effect that could have been shown. `asked` and `unit` are the claim's.
    `single` says in words that it is of one seed or student.
    """

    id: str
    statement: str
    paper: str
    ours: str
    what: str
    rule: str
    verdict: str
    number: Number | None
    could: str = "–"
    asked: Rule = NO_RULE
    unit: str = ""
    single: str = ""


def judge(book: Book) -> list[Judged]:
    """Judges every claim once per group in which it was measured or the reason why not is known.
    A claim without such a group has one line. What is shown alone must also be shown among all.
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
    return among_all(judged)


def footnotes(judged: list[Judged]) -> list[str]:
    """What a reader of the verdicts must know besides."""
    few = any(FEW in each.what for each in judged)
    return [f"{FEW} {FEW_SEEDS[0].upper()}{FEW_SEEDS[1:]}."] if few else []


def among_all(judged: list[Judged]) -> list[Judged]:
    """Corrects the verdicts of lines that were judged alone for their number (`verdicts.kept`), and
    adds what each could have shown.
    """
    count = sum(each.number is not None for each in judged)
    shown = [_p(each) if each.verdict == SHOWS else None for each in judged]
    stay = kept(shown, count)
    found = []
    for each, p, stays in zip(judged, shown, stay, strict=True):
        each = replace(each, could=_could(each, count))
        if p is not None and not stays:
            rule = f"{each.rule}; alone it shows, not among {count} findings"
            each = replace(each, verdict=NOISY, rule=rule)
        found.append(each)
    return found


def _on_scale(each: Judged) -> tuple[Number, Rule]:
    """The number and the rule on the scale of its errors: logarithms for ratios."""
    assert each.number
    number, rule = each.number, each.asked
    if each.unit != "times":
        return number, rule
    return logarithm(number), replace(
        rule, neutral=math.log(rule.neutral), least=math.log(rule.least)
    )


def _p(each: Judged) -> float:
    return p_value(*_on_scale(each))


def _could(each: Judged, count: int) -> str:
    if each.number is None or each.asked.inside:
        return "–"
    if each.single:
        return f"none: {each.single}"
    found = smallest(*_on_scale(each), count)
    if found is None:
        return "none: no interval"
    low, high = FEASIBLE.get(each.unit, (-math.inf, math.inf))
    if not low <= found <= high:
        return "none that is possible"
    value = math.exp(min(found, 700.0)) if each.unit == "times" else found
    return f"{_figure(value, each.unit)}{_unit(each.unit)}"


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
    by = 100 if unit == "points" else 1
    number = finding.number.scaled(by)
    outcome = verdict(number.value, number.low, number.high, rule, by * finding.room)
    if finding.compares and finding.seeds < 2:
        outcome = NOISY
    words = [finding.what] if not finding.seeds else [finding.what, _seeds(finding)]
    what = ", ".join(words) + _where(group, book)
    text, (instead, why) = _rule_text(rule, unit), finding.doubt
    if instead and outcome == SHOWS:
        outcome, text = instead, f"{text}; but {why}"
    paper = paper_figure(claim, group, finding, book)
    return Judged(claim["id"], claim["statement"], paper, format_number(number, unit), what,
                  text, outcome, number, asked=rule, unit=unit,
                  single=_seeds(finding) if finding.seeds == 1 else "")  # fmt: skip


def _seeds(finding: Finding) -> str:
    return seeds(finding.seeds, finding.unit) + (
        FEW if finding.compares and finding.seeds in (2, 3) else ""
    )


def _where(group: Group, book: Book) -> str:
    return f" ({group.name})" if len(book.groups) > 1 else ""


def _unmeasured(claim: dict[str, Any], book: Book, group: Group | None, why: str) -> Judged:
    paper, groups = paper_figure(claim, group, None, book), _groups_of(claim, book)
    scale = group.scale if group else groups[0].scale if groups else {}
    rule = "" if isinstance(claim.get("inside"), str) and not scale else _rule_text(
        rule_of(claim, scale), claim["unit"])  # fmt: skip
    return Judged(claim["id"], claim["statement"], paper, "–", why, rule, UNMEASURED, None)


def seeds(count: int, unit: str = "seed") -> str:
    """The number of seeds or students in words; 0 means that the two sides share none."""
    return {0: f"different {unit}s", 1: f"one {unit}"}.get(count, f"{count} {unit}s")


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
