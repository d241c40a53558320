"""All that was found below a folder, sorted by what may be compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.config import gate
from esr_cli.disk import Rows, conf_dir
from esr_cli.reporting import arms as arms_
from esr_cli.reporting.arms import Arm, flat
from esr_cli.reporting.runs import Run, find, loose_probes, teacher_evals

PAPER = conf_dir() / "experiment" / "paper"


@dataclass(frozen=True)
class Probe:
    """One probe's rows, whose they are, and the folder that holds its figure."""

    name: str
    label: str
    folder: Path
    rows: Rows


@dataclass(frozen=True)
class Group:
    """Arms of one pair and task; `scale` says which N and tuning stand for ESR there
    (claims.yaml); `loose` are probes of the pair that belong to no run.
    """

    pair: str
    task: str
    arms: tuple[Arm, ...]
    scale: dict[str, Any]
    loose: tuple[Probe, ...]
    teacher: Rows

    @property
    def benchmark(self) -> str:
        """The benchmark that stands for the group."""
        return next((run.benchmark for arm in self.arms for run in arm.runs if run.benchmark), "")

    @property
    def name(self) -> str:
        """Pair and task, or one word where they are the same."""
        return ", ".join(dict.fromkeys((self.pair, self.task)))

    @property
    def graded(self) -> list[Arm]:
        """The arms that were asked enough to tell an accuracy."""
        return [arm for arm in self.arms if not arm.timed]

    @property
    def clocked(self) -> list[Arm]:
        """The arms whose seconds count: those that ran for their clock, else all."""
        return [arm for arm in self.arms if arm.timed and arm.done] or list(self.arms)

    def chosen(self, role: str, timed: bool = False) -> list[Arm]:
        """The arms that play a role of claims.yaml: main, full, smallest, selectors, ..."""
        n, tune = self.scale["n"], self.scale["tune"]
        done = [arm for arm in self.arms if arm.done and arm.timed == timed]
        if role.startswith("main_by_"):
            tune, role = role.removeprefix("main_by_"), "main"
        own = [arm for arm in done if arm.tune == tune]
        esr = [arm for arm in own if arm.kind == "esr"]
        if role == "main":
            return [arm for arm in esr if arm.tokens == n]
        if role == "full":
            return [arm for arm in own if arm.kind == "full"]
        if role == "every":
            return esr
        if role == "selectors":
            return [arm for arm in own if arm.kind == "selector" and arm.keep == n]
        if role == "smallest":
            least = min((arm.tokens for arm in esr), default=n)
            return [arm for arm in esr if arm.tokens == least <= self.scale["small"]]
        assert role == "largest", role
        most = max((arm.tokens for arm in esr), default=n)
        return [arm for arm in esr if arm.tokens == most > n]

    def clocks(self, a: str, b: str) -> list[tuple[Arm, Arm]]:
        """The couples whose seconds count: those that ran for their clock, else all."""
        return list(self.couples(a, b, timed=True)) or list(self.couples(a, b))

    def couples(self, a: str, b: str, timed: bool = False) -> Iterator[tuple[Arm, Arm]]:
        """Pairs of arms in two roles, each with the one whose settings are nearest."""
        ours, theirs = self.chosen(a, timed), self.chosen(b, timed)
        if not ours or not theirs:
            return
        if b == "selectors":
            yield from ((_nearest(each, ours), each) for each in theirs)
        else:
            yield from ((each, _nearest(each, theirs)) for each in ours)

    def probes(self, name: str, role: str | None = None) -> list[Probe]:
        """The probes of that name: of the runs of a role, or of all runs and of none."""
        arms = self.chosen(role) if role else self.arms
        found = [
            Probe(name, f"{arm.label}, seed {run.seed}", run.folder / "probes", run.probes[name])
            for arm in arms for run in arm.runs if name in run.probes
        ]  # fmt: skip
        return found if role else found + [each for each in self.loose if each.name == name]


@dataclass(frozen=True)
class Book:
    """Runs, and the groups that they form."""

    folder: Path
    runs: tuple[Run, ...]
    groups: tuple[Group, ...]
    claims: list[dict[str, Any]]
    paper: dict[str, Any]


def open_book(folder: Path) -> Book:
    """Reads every run at or below `folder`."""
    runs = find(folder)
    rules = gate.read_yaml(PAPER / "claims.yaml")
    arms = arms_.gather(runs)
    loose = [
        (_pair_of(place), Probe(name, f"{place.name}", place, rows))
        for place, found in loose_probes(folder, runs) for name, rows in found.items()
    ]  # fmt: skip
    groups = []
    for pair, task in dict.fromkeys((arm.pair, arm.task) for arm in arms):
        own = tuple(arm for arm in arms if (arm.pair, arm.task) == (pair, task))
        groups.append(
            Group(
                pair, task, own, rules["scales"][arms_.scale_of(pair)],
                tuple(probe for name, probe in loose if name == pair),
                teacher_evals(folder, own[0].runs[0]),
            )
        )  # fmt: skip
    paper = gate.read_yaml(PAPER / "results.yaml")
    return Book(folder, tuple(runs), tuple(groups), rules["claims"], paper)


def _nearest(arm: Arm, others: list[Arm]) -> Arm:
    own = flat(arm.config)

    def distance(other: Arm) -> int:
        theirs = flat(other.config)
        return sum(str(own.get(key)) != str(theirs.get(key)) for key in own.keys() | theirs.keys())

    return min(others, key=distance)


def _pair_of(folder: Path) -> str:
    """Each probe leaves its settings beside its rows; else the folder above is named so."""
    named = (gate.read_yaml(path).get("pair", {}).get("name") for path in folder.glob("*.yaml"))
    return str(next(filter(None, named), folder.parent.name))
