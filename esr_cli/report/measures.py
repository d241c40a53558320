"""The measures that claims name: each finds its arms or probes in a group, and gives numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.report import numbers
from esr_cli.report.arms import Arm
from esr_cli.report.book import Group
from esr_cli.report.numbers import Number
from esr_cli.runs.record import interval_of

Claim = dict[str, Any]
CLOCKS = ("seconds_ratio", "memory_ratio")


@dataclass(frozen=True)
class Finding:
    """A number, what it was measured on, over how many seeds (0: none of a run), and the key of the
    paper's figure where it has several. Where it `compares` two trainings, one seed tells nothing
    of another.
    """

    number: Number
    what: str
    seeds: int
    key: str = ""
    compares: bool = False


def difference(group: Group, claim: Claim) -> Iterator[Finding]:
    """Accuracy of one arm minus that of another."""
    for a, b in group.couples(claim["a"], claim["b"]):
        found = numbers.difference(a, b, group.benchmark, claim["moment"])
        if found:
            yield Finding(found, _against(a, b), _seeds(found, a, b), b.by, compares=True)


def fall_difference(group: Group, claim: Claim) -> Iterator[Finding]:
    """How much further one arm falls from its best checkpoint than another."""
    for a, b in group.couples(claim["a"], claim["b"]):
        found = numbers.fall_difference(a, b, group.benchmark)
        if found:
            yield Finding(found, _against(a, b), _seeds(found, a, b), compares=True)


def change(group: Group, claim: Claim) -> Iterator[Finding]:
    """A share of the responses at the last evaluation, minus that before training."""
    for arm in group.chosen(claim["a"]):
        first, last = (_share(arm, group.benchmark, claim["metric"], at)
                       for at in ("before", "last"))  # fmt: skip
        if first and last:
            yield Finding(numbers.minus(last, first), arm.label, len(last.seeds))


def length_ratio(group: Group, claim: Claim) -> Iterator[Finding]:
    """Mean response length of one arm over another's, at the last evaluation."""

    def length(arm: Arm) -> Number | None:
        return numbers.metric(arm, group.benchmark, "length_tokens/mean", "last")

    for found in _ratios(group.couples(claim["a"], claim["b"]), length):
        yield replace(found, compares=True)


def seconds_ratio(group: Group, claim: Claim) -> Iterator[Finding]:
    """Median seconds of a step of one arm over another's."""
    couples = group.clocks(claim["a"], claim["b"])
    return _ratios(couples, lambda arm: numbers.phase_seconds(arm, "step"))


def memory_ratio(group: Group, claim: Claim) -> Iterator[Finding]:
    """Peak memory of one arm over another's."""
    return _ratios(group.clocks(claim["a"], claim["b"]), numbers.peak_gib)


def probe(group: Group, claim: Claim) -> Iterator[Finding]:
    """A figure that a probe gives with its interval, the mean over the runs of an arm."""
    for label, probes, of_runs in group.probed(claim["probe"], claim.get("arm")):
        told = [row for rows in probes for row in matching(rows, claim)[:1]]
        if told:
            what = f"probe {claim['probe']} of {label}"
            yield Finding(_mean(told), what, of_runs * len(told))


def probe_change(group: Group, claim: Claim) -> Iterator[Finding]:
    """A probe's figure after training minus before, the mean over the runs of an arm."""
    for label, probes, of_runs in group.probed(claim["probe"], claim.get("arm")):
        changes = []
        for rows in probes:
            before, after = (matching(rows, claim, who=who)[:1] for who in ("before", "after"))
            if before and after:
                moved = numbers.minus(_mean(after), _mean(before))
                changes.append((moved.value, moved.low, moved.high))
        if changes:
            what = f"probe {claim['probe']} of {label}"
            yield Finding(numbers.over_runs(changes), what, of_runs * len(changes))


MEASURES: dict[str, Callable[[Group, Claim], Iterator[Finding]]] = {
    "difference": difference, "fall_difference": fall_difference, "change": change,
    "length_ratio": length_ratio, "seconds_ratio": seconds_ratio, "memory_ratio": memory_ratio,
    "probe": probe, "probe_change": probe_change,
}  # fmt: skip


def why_not(group: Group, claim: Claim) -> str:
    """What kept a claim on two arms from being measured, where it is known."""
    if "b" not in claim:
        return ""
    return group.no_couple(claim["a"], claim["b"], clock=claim["measure"] in CLOCKS)


def matching(rows: Rows, claim: Claim, **more: Any) -> Rows:
    """The rows of a claim's figure that have a value."""
    wanted = {"figure": claim["figure"], **claim.get("where", {}), **more}
    return [
        row for row in rows
        if row.get("value") is not None and all(row.get(key) == wanted[key] for key in wanted)
    ]  # fmt: skip


def _mean(rows: Rows) -> Number:
    return numbers.over_runs([interval_of(row) for row in rows])


def _ratios(
    couples: Iterable[tuple[Arm, Arm]], of: Callable[[Arm], Number | None]
) -> Iterator[Finding]:
    for a, b in couples:
        ours, theirs = of(a), of(b)
        found = numbers.ratio(ours, theirs) if ours and theirs else None
        if found:
            yield Finding(found, _against(a, b), _seeds(found, a, b))


def _share(arm: Arm, benchmark: str, metric: str, moment: str) -> Number | None:
    if metric == "several_boxes":
        return numbers.several_boxes(arm, benchmark, moment)
    return numbers.metric(arm, benchmark, metric, moment)


def _against(a: Arm, b: Arm) -> str:
    return f"{a.label} against {b.label}"


def _seeds(found: Number, a: Arm, b: Arm) -> int:
    """Over how many seeds two arms were compared; of arms that share none, the lesser count."""
    return len(found.seeds) or len(a.done.keys() & b.done.keys()) or min(len(a.done), len(b.done))
