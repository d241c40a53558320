"""All that was found below a folder, sorted by what may be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from esr_cli.base.files import Rows, conf_dir
from esr_cli.config import gate
from esr_cli.report import arms as arms_
from esr_cli.report.arms import Arm
from esr_cli.report.settings import ROLES, differing
from esr_cli.runs.record import (
    Run,
    loose_probes,
    places,
    probes_in,
    read,
    settings_at,
    teacher_evals,
)

Made = TypeVar("Made")
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
        """The benchmark that stands for the group: of complete runs, where there are any, the most
        frequent.
        """
        runs = [run for arm in self.arms for run in arm.runs if run.benchmark]
        whole = [run for run in runs if run.state == "complete"] or runs
        return next((name for name, _ in Counter(r.benchmark for r in whole).most_common(1)), "")

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
        if role == "growing":
            return [arm for arm in own if arm.kind == "growing"]
        if role == "selectors":
            return [arm for arm in own if arm.kind == "selector" and arm.keep == n
                    and arm.config["loss"]["select"] in ("top", "random")]  # fmt: skip
        if role == "smallest":
            return [arm for arm in esr if arm.tokens <= self.scale["small"]
                    and arm.tokens == min(_sweep(arm, esr))]  # fmt: skip
        assert role == "largest", role
        return [arm for arm in esr if arm.tokens > n and arm.tokens == max(_sweep(arm, esr))]

    def couples(self, a: str, b: str, timed: bool = False) -> list[tuple[Arm, Arm]]:
        """Arms in two roles that are alike in everything else."""
        ours, theirs = self.chosen(a, timed), self.chosen(b, timed)
        return [(x, y) for x in ours for y in theirs if not _unlike(x, y, a, b)]

    def clocks(self, a: str, b: str) -> list[tuple[Arm, Arm]]:
        """The couples whose seconds and memory may be compared, having run in one place: those
        that ran for their clock, else all.
        """
        found: list[tuple[Arm, Arm]] = []
        for timed in (True, False):
            like = self.couples(a, b, timed)
            found = found or [(x, y) for x, y in like if x.places and x.places == y.places]
        return found

    def no_couple(self, a: str, b: str, clock: bool = False) -> str:
        """What keeps arms in two roles from being compared, where both are there; with `clock`
        those that ran for it count too.
        """
        ours, theirs = (
            self.chosen(role) + (self.chosen(role, timed=True) if clock else []) for role in (a, b)
        )
        both = [(_unlike(x, y, a, b), x, y) for x in ours for y in theirs]
        if not both:
            return ""
        keys, x, y = min(both, key=lambda each: len(each[0]))
        if not keys:
            apart = clock and not (x.places and x.places == y.places)
            return f"{x.label} and {y.label}: no machine known to be the same" if apart else ""
        told = f"{keys[0]} ({x.settings.get(keys[0])} and {y.settings.get(keys[0])})"
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        return f"{x.label} and {y.label} differ in {told}{more}"

    def probes(self, name: str) -> list[Probe]:
        """The probes of that name: of all runs, and of none."""
        found = [
            Probe(name, f"{arm.label}, seed {run.seed}", run.folder / "probes", run.probes[name])
            for arm in self.arms for run in arm.runs if name in run.probes
        ]  # fmt: skip
        return found + [each for each in self.loose if each.name == name]

    def probed(self, name: str, role: str | None = None) -> list[tuple[str, list[Rows], bool]]:
        """That probe by arm: label, rows of one run a seed, and whether it is of runs. Of the arms
        in a role, or of all and of the pair alone.
        """
        found = []
        for arm in self.chosen(role) if role else self.arms:
            rows = [run.probes[name] for run in arm.done.values() if name in run.probes]
            found += [(arm.label, rows, True)] if rows else []
        loose = [] if role else [each for each in self.loose if each.name == name]
        return found + [(each.label, [each.rows], False) for each in loose]


@dataclass(frozen=True)
class Book:
    """Runs, the groups that they form, and the folders that could not be read, with the reason."""

    folder: Path
    runs: tuple[Run, ...]
    unreadable: dict[Path, str]
    groups: tuple[Group, ...]
    claims: list[dict[str, Any]]
    paper: dict[str, Any]


def open_book(folder: Path) -> Book:
    """Reads every run at or below `folder` that can be read."""
    unreadable: dict[Path, str] = {}
    found = places(folder)
    runs = [run for place in found for run in _tried(place, unreadable, _whole_at, place)]
    rules = gate.read_yaml(PAPER / "claims.yaml")
    arms = arms_.gather(runs)
    groups = []
    for pair, task in dict.fromkeys((arm.pair, arm.task) for arm in arms):
        own = tuple(arm for arm in arms if (arm.pair, arm.task) == (pair, task))
        evals = _tried(folder, unreadable, teacher_evals, folder, own[0].runs[0])
        scale = rules["scales"][arms_.scale_of(pair)]
        groups.append(Group(pair, task, own, scale, (), next(iter(evals), [])))
    loose = [(place, probes) for place in loose_probes(folder, found)
             for probes in _tried(place, unreadable, probes_in, place)]  # fmt: skip
    groups = _with_loose(groups, loose)
    paper = gate.read_yaml(PAPER / "results.yaml")
    return Book(folder, tuple(runs), unreadable, tuple(groups), rules["claims"], paper)


def _tried(
    place: Path, unreadable: dict[Path, str], make: Callable[..., Made], *given: Any
) -> list[Made]:
    """What it makes; nothing where it fails, with the reason among the unreadable."""
    try:
        return [make(*given)]
    # Whatever is wrong with one folder, the others are to be reported.
    except Exception as error:
        unreadable[place] = _reason(error)
        return []


def _whole_at(place: Path) -> Run:
    """The run there; raises where its settings lack what no report can do without."""
    run = read(place)
    [arm] = arms_.gather([run])
    _ = (arm.pair, arm.task, arm.tune, arm.timed, run.seed, run.config["pair"]["teacher"]["path"])
    return run


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"lacks {error}"
    return gate.one_line(error)[:200] or type(error).__name__


def _sweep(arm: Arm, arms: list[Arm]) -> list[int]:
    return [each.tokens for each in arms if each.family == arm.family]


def _unlike(x: Arm, y: Arm, a: str, b: str) -> list[str]:
    """The settings that differ, but for what the two roles name."""
    tuned = ("tune",) if "main_by_" in a + b else ()
    return differing(x.settings, y.settings, (*ROLES, *tuned))


def _with_loose(groups: list[Group], found: list[tuple[Path, dict[str, Rows]]]) -> list[Group]:
    """Each probe of a pair alone goes to the task on whose benchmark it was made, once."""
    loose: dict[int, list[Probe]] = {}
    for place, probes in found:
        for name, rows in probes.items():
            pair, asked = _made_with(place, name)
            own = [i for i, group in enumerate(groups) if group.pair == pair]
            fit = [i for i in own if groups[i].benchmark in asked] or own
            for i in fit[:1]:
                loose.setdefault(i, []).append(Probe(name, place.name, place, rows))
    return [replace(group, loose=tuple(loose.get(i, ()))) for i, group in enumerate(groups)]


def _made_with(place: Path, name: str) -> tuple[str, list[str]]:
    """Pair and benchmarks: each probe leaves its settings beside its rows; else the folder above is
    named after the pair.
    """
    saved = settings_at(place / f"{name}.yaml")
    others = [settings_at(path) for path in sorted(place.glob("*.yaml"))]
    pairs = [(each.get("pair") or {}).get("name") for each in (saved, *others)]
    return str(next(filter(None, pairs), place.parent.name)), list(saved.get("benchmark") or ())
