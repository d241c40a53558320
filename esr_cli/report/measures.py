"""The measures named in claims.yaml: each computes numbers from a group's conditions or probes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.report import numbers
from esr_cli.report.book import Group, Probed
from esr_cli.report.conditions import Condition
from esr_cli.report.number import Number, minus, over_runs, ratio
from esr_cli.report.verdicts import DOES_NOT, NOISY
from esr_cli.runs.record import interval_of

Claim = dict[str, Any]
CLOCKS = ("seconds_ratio", "memory_ratio")


@dataclass(frozen=True)
class Finding:
    """One measured number.

    `what` names what it was measured on. `seeds` is 0 if it does not come from a run; its
    `unit` is seed or, in a population, student. `key` selects
    among several figures of the paper, and `tune` and `rollouts` a prompt too; without a training
    `tune` is empty. If it `compares` two trainings, one seed is not enough. `room` is the largest
    effect that the bounds of the figure allow: ESR cannot beat by 2 points what stands at 99 %.
    `doubt` is the verdict in place of "shows", and why, if another condition of the claim fails.
    """

    number: Number
    what: str
    seeds: int
    key: str = ""
    compares: bool = False
    tune: str = ""
    rollouts: int = 1
    room: float = math.inf
    unit: str = "seed"
    doubt: tuple[str, str] = ("", "")


def difference(group: Group, claim: Claim) -> Iterator[Finding]:
    """Accuracy of one condition minus that of another, for each tuning if the claim is on all."""
    roles = [(claim["a"], claim["b"])]
    if claim.get("every_tuning"):
        tunings = sorted(("lora", "full"), key=lambda tune: tune != group.scale["tune"])
        roles = [(f"{claim['a']}_by_{tune}", f"{claim['b']}_by_{tune}") for tune in tunings]
    for a, b in (couple for pair in roles for couple in group.couples(*pair)):
        found = numbers.difference(a, b, group.benchmark, claim["moment"])
        other = numbers.accuracy(b, group.benchmark, claim["moment"])
        if found and other:
            room = other.value if claim.get("side") == "below" else 1 - other.value
            yield Finding(found, _against(a, b), _seeds(found, a, b), b.by, True, a.tune,
                          _rollouts(a), room, a.unit)  # fmt: skip


def fall_difference(group: Group, claim: Claim) -> Iterator[Finding]:
    """How much further one condition falls from its best checkpoint than another."""
    for a, b in group.couples(claim["a"], claim["b"]):
        found = numbers.fall_difference(a, b, group.benchmark)
        if found:
            best = numbers.accuracy(a, group.benchmark, "held_out")
            yield Finding(found, _against(a, b), _seeds(found, a, b), "", True, a.tune,
                          _rollouts(a), best.value if best else math.inf, a.unit)  # fmt: skip


def change(group: Group, claim: Claim) -> Iterator[Finding]:
    """A share of the responses at the last evaluation minus the share before training."""
    for condition in group.chosen(claim["a"]):
        first, last = (_share(condition, group.benchmark, claim["metric"], at)
                       for at in ("before", "last"))  # fmt: skip
        if first and last:
            found = minus(last, first).within(-1, 1)
            yield Finding(found, condition.label, len(last.seeds), "", False, condition.tune,
                          _rollouts(condition), 1 - first.value, condition.unit)  # fmt: skip


def length_ratio(group: Group, claim: Claim) -> Iterator[Finding]:
    """Mean response length of one condition divided by another's, at the last evaluation."""
    for a, b in group.couples(claim["a"], claim["b"]):
        found = numbers.length_ratio(a, b, group.benchmark)
        if found:
            yield Finding(found, _against(a, b), _seeds(found, a, b), "", True, a.tune,
                          _rollouts(a), unit=a.unit)  # fmt: skip


def seconds_ratio(group: Group, claim: Claim) -> Iterator[Finding]:
    """Median seconds per step of one condition divided by another's."""
    couples = group.clocks(claim["a"], claim["b"])
    return _ratios(couples, lambda condition: numbers.phase_seconds(condition, "step"))


def memory_ratio(group: Group, claim: Claim) -> Iterator[Finding]:
    """Peak memory of one condition divided by another's."""
    return _ratios(group.clocks(claim["a"], claim["b"]), numbers.peak_gib)


def probe(group: Group, claim: Claim) -> Iterator[Finding]:
    """A figure of a probe with its interval, averaged over the runs of a condition.

    A figure of the student before training is one fact, whichever runs measured it: it is taken
    from the probe of the pair alone if there is one, and else from one run per student.
    """
    if claim.get("where", {}).get("who") == "before":
        yield from _untrained(group, claim)
        return
    for each in group.probed(claim["probe"], claim.get("arm")):
        if found := _over(each, claim):
            yield replace(found, doubt=_doubt(each.rows, claim))


def _over(probed: Probed, claim: Claim) -> Finding | None:
    """The mean of a claim's figure over the seeds or students of a probe."""
    figures = [row for rows in probed.rows for row in matching(rows, claim)[:1]]
    if not figures:
        return None
    what = f"probe {claim['probe']} of {probed.label}"
    return Finding(_mean(figures), what, min(probed.count, len(figures)), unit=probed.unit)


def _doubt(probes: list[Rows], claim: Claim) -> tuple[str, str]:
    """The worst outcome of the further figures (`also`) of a claim, and the figure.

    Like the claim's own figure, each is a mean over seeds or students.
    """
    found = [("", "")]
    for figure, side in claim.get("also", {}).items():
        name = figure.replace("_", " ")
        known = [row for rows in probes for row in matching(rows, {"figure": figure})[:1]]
        if not known:
            found.append((NOISY, f"{name} not measured"))
            continue
        mean = _mean(known)
        if side == "above" and mean.low <= 0:
            found.append((DOES_NOT if mean.high < 0 else NOISY, f"{name} not above 0"))
        elif side == "not above" and mean.low > 0:
            found.append((DOES_NOT, f"{name} above 0"))
    return max(found, key=lambda each: ("", NOISY, DOES_NOT).index(each[0]))


def _untrained(group: Group, claim: Claim) -> Iterator[Finding]:
    for each in sorted(group.probed(claim["probe"]), key=lambda each: each.trained):
        if each.unit == "seed":  # every seed begins with the same student
            known = [rows for rows in each.rows if matching(rows, claim)]
            each = replace(each, rows=known[:1], count=0)
        if found := _over(each, claim):
            students = "students" if each.unit == "student" else "student"
            yield replace(found, what=f"probe {claim['probe']} of the untrained {students}")
            return


def probe_change(group: Group, claim: Claim) -> Iterator[Finding]:
    """A probe's figure after training minus before, averaged over the runs of each condition."""
    found = [(arm, each) for arm in claim["arms"] for each in group.probed(claim["probe"], arm)]
    for arm, each in found:
        changes = []
        for rows in each.rows:
            before, after = (matching(rows, claim, who=who)[:1] for who in ("before", "after"))
            if before and after:
                delta = minus(_mean(after), _mean(before))
                changes.append((delta.value, delta.low, delta.high))
        if changes:
            what = f"probe {claim['probe']} of {each.label}"
            yield Finding(over_runs(changes), what, len(changes), arm, unit=each.unit)


MEASURES: dict[str, Callable[[Group, Claim], Iterator[Finding]]] = {
    "difference": difference, "fall_difference": fall_difference, "change": change,
    "length_ratio": length_ratio, "seconds_ratio": seconds_ratio, "memory_ratio": memory_ratio,
    "probe": probe, "probe_change": probe_change,
}  # fmt: skip


def why_not(group: Group, claim: Claim) -> str:
    """Why a claim about two conditions was not measured; empty if unknown."""
    if "b" not in claim:
        return ""
    return group.why_no_couple(claim["a"], claim["b"], clock=claim["measure"] in CLOCKS)


def matching(rows: Rows, claim: Claim, **more: Any) -> Rows:
    """The rows with the claim's figure that have a value; `more` adds columns to match."""
    wanted = {"figure": claim["figure"], **claim.get("where", {}), **more}
    return [
        row for row in rows
        if row.get("value") is not None and all(row.get(key) == wanted[key] for key in wanted)
    ]  # fmt: skip


def _mean(rows: Rows) -> Number:
    return over_runs([interval_of(row) for row in rows])


def _ratios(
    couples: Iterable[tuple[Condition, Condition]], of: Callable[[Condition], Number | None]
) -> Iterator[Finding]:
    for a, b in couples:
        numerator, denominator = of(a), of(b)
        found = ratio(numerator, denominator) if numerator and denominator else None
        if found:
            yield Finding(found, _against(a, b), _seeds(found, a, b), unit=a.unit)


def _share(condition: Condition, benchmark: str, metric: str, moment: str) -> Number | None:
    if metric == "several_boxes":
        return numbers.several_boxes(condition, benchmark, moment)
    return numbers.metric(condition, benchmark, metric, moment)


def _rollouts(condition: Condition) -> int:
    return int(condition.config["rollouts_per_prompt"])


def _against(a: Condition, b: Condition) -> str:
    return f"{a.label} against {b.label}"


def _seeds(found: Number, a: Condition, b: Condition) -> int:
    """The number of shared seeds in a comparison, or the smaller count if none is shared."""
    return (
        len(found.seeds) or len(a.units.keys() & b.units.keys()) or min(len(a.units), len(b.units))
    )
