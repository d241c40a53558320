"""Everything found below a folder of runs, grouped so that members can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from esr_cli.base.files import Rows, conf_dir
from esr_cli.config import gate
from esr_cli.report.conditions import Condition, gather, scale_of
from esr_cli.runs.record import (
    Run,
    loose_probes,
    places,
    probes_in,
    read,
    settings_at,
    teacher_evals,
)
from esr_cli.runs.settings import ROLES, differing

Made = TypeVar("Made")
PAPER = conf_dir() / "experiment" / "paper"


@dataclass(frozen=True)
class Probe:
    """The rows of one probe, and a label for its owner.

    `population` and `student` (a path) are empty unless its student is one of a population.
    """

    name: str
    label: str
    rows: Rows
    population: str = ""
    student: str = ""


@dataclass(frozen=True)
class Probed:
    """A probe of a condition, or of pairs alone: the rows of each seed or student (`unit`).

    `count` of them are samples of something: 0 for one pair alone, which is a single fact.
    """

    label: str
    rows: list[Rows]
    count: int
    unit: str = "seed"
    trained: bool = False


@dataclass(frozen=True)
class Group:
    """The conditions of one pair and task.

    `scale` (claims.yaml) gives the N and the tuning that represent ESR in this group. `loose` are
    probes of the pair that belong to no run.
    """

    pair: str
    task: str
    conditions: tuple[Condition, ...]
    scale: dict[str, Any]
    loose: tuple[Probe, ...]
    teacher: Rows

    @property
    def benchmark(self) -> str:
        """The group's benchmark: the most frequent one of its complete runs, or of all runs if
        none is complete.
        """
        runs = [run for condition in self.conditions for run in condition.runs if run.benchmark]
        counted = [run for run in runs if run.state == "complete"] or runs
        return next((name for name, _ in Counter(r.benchmark for r in counted).most_common(1)), "")

    @property
    def name(self) -> str:
        """Pair and task, or one name if both are the same."""
        return ", ".join(dict.fromkeys((self.pair, self.task)))

    @property
    def graded(self) -> list[Condition]:
        """The conditions that give an accuracy: those that do not only measure time."""
        return [condition for condition in self.conditions if not condition.timed]

    @property
    def clocked(self) -> list[Condition]:
        """The conditions whose times count: those that only measure time, or else all."""
        timed = [each for each in self.conditions if each.timed and each.done]
        return timed or list(self.conditions)

    def chosen(self, role: str, timed: bool = False) -> list[Condition]:
        """The conditions that have a role of claims.yaml: main, full, smallest, selectors, ..."""
        n, tune = self.scale["n"], self.scale["tune"]
        done = [each for each in self.conditions if each.done and each.timed == timed]
        if "_by_" in role:
            role, _, tune = role.partition("_by_")
        tuned = [each for each in done if each.tune == tune]
        esr = [each for each in tuned if each.kind == "esr"]
        if role == "main":
            return [each for each in esr if each.tokens == n]
        if role == "full":
            return [each for each in tuned if each.kind == "full"]
        if role == "every":
            return esr
        if role == "growing":
            return [each for each in tuned if each.kind == "growing"]
        if role == "selectors":
            return [each for each in tuned if each.kind == "selector" and each.keep == n
                    and each.config["loss"]["select"] in ("top", "random")]  # fmt: skip
        if role == "smallest":
            return [each for each in esr if each.tokens <= self.scale["small"]
                    and each.tokens == min(_sweep(each, esr))]  # fmt: skip
        assert role == "largest", role
        return [each for each in esr if each.tokens > n and each.tokens == max(_sweep(each, esr))]

    def couples(self, a: str, b: str, timed: bool = False) -> list[tuple[Condition, Condition]]:
        """Pairs of conditions in the roles `a` and `b` that agree in all other settings."""
        ours, theirs = self.chosen(a, timed), self.chosen(b, timed)
        return [(x, y) for x in ours for y in theirs if not _differing_settings(x, y, a, b)]

    def clocks(self, a: str, b: str) -> list[tuple[Condition, Condition]]:
        """The couples whose time and memory can be compared because they ran on the same machines:
        conditions that only measure time, or all others if there are none.
        """
        found: list[tuple[Condition, Condition]] = []
        for timed in (True, False):
            couples = self.couples(a, b, timed)
            found = found or [(x, y) for x, y in couples if x.machines and x.machines == y.machines]
        return found

    def why_no_couple(self, a: str, b: str, clock: bool = False) -> str:
        """Why conditions in the two roles cannot be compared; empty if a role has no condition.

        With `clock`, conditions that only measure time count too, and the machines must match.
        """
        ours, theirs = (
            self.chosen(role) + (self.chosen(role, timed=True) if clock else []) for role in (a, b)
        )
        both = [(_differing_settings(x, y, a, b), x, y) for x in ours for y in theirs]
        if not both:
            return ""
        keys, x, y = min(both, key=lambda each: len(each[0]))
        if not keys:
            apart = clock and not (x.machines and x.machines == y.machines)
            return f"{x.label} and {y.label}: not known to have run on one machine" if apart else ""
        values = [each.settings.get(keys[0]) for each in (x, y)]
        first = f"{keys[0]} ({' and '.join('null' if v is None else str(v) for v in values)})"
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        return f"{x.label} and {y.label} differ in {first}{more}"

    def probes(self, name: str) -> list[Probe]:
        """The probes with this name: those of all runs, then those of pairs alone.

        Of a population it is the first student, who stands for the others in figures.
        """
        found = [
            Probe(name, f"{each.label}, {each.name_of(run)}", run.probes[name])
            for each in self.conditions for run in each.runs
            if name in run.probes and (each.unit == "seed" or run in each.first)
        ]  # fmt: skip
        loose = [each for each in self.loose if each.name == name]
        first = {each.population: each for each in reversed(loose) if each.population}
        return found + [each for each in loose if each is first.get(each.population, each)]

    def probed(self, name: str, role: str | None = None) -> list[Probed]:
        """A probe of every condition in a role, with the rows of one run per seed or student.

        Without a role, of all conditions and of the pairs alone; a population's pairs are one.
        """
        found = []
        for each in self.chosen(role) if role else self.conditions:
            first = (runs[0] for runs in each.units.values())
            rows = [run.probes[name] for run in first if name in run.probes]
            found += [Probed(each.label, rows, len(rows), each.unit, True)] if rows else []
        loose = [] if role else [each for each in self.loose if each.name == name]
        populations: dict[str, dict[str, Rows]] = {}
        for probe in loose:  # two folders may hold the same student, who counts once
            students = populations.setdefault(probe.population, {})
            students.setdefault(Path(probe.student).name, probe.rows)
        alone = [Probed(each.label, [each.rows], 0) for each in loose if not each.population]
        return found + alone + [
            Probed("the untrained students", list(students.values()), len(students), "student")
            for name, students in populations.items() if name
        ]  # fmt: skip


@dataclass(frozen=True)
class Book:
    """All runs, their groups, and the folders that could not be read, each with the reason.

    `paper` and `authors` are the figures of the paper and of its authors' later notes.
    """

    folder: Path
    runs: tuple[Run, ...]
    unreadable: dict[Path, str]
    groups: tuple[Group, ...]
    claims: list[dict[str, Any]]
    paper: dict[str, Any]
    authors: dict[str, Any]


def open_book(folder: Path) -> Book:
    """Reads every readable run at or below `folder`."""
    unreadable: dict[Path, str] = {}
    found = places(folder)
    runs = [run for place in found for run in _attempt(place, unreadable, _read_run, place)]
    rules = gate.read_yaml(PAPER / "claims.yaml")
    conditions = gather(runs)
    groups = []
    for pair, task in dict.fromkeys((condition.pair, condition.task) for condition in conditions):
        members = tuple(each for each in conditions if (each.pair, each.task) == (pair, task))
        evals = _attempt(folder, unreadable, teacher_evals, folder, members[0].runs[0])
        scale = rules["scales"][scale_of(pair)]
        groups.append(Group(pair, task, members, scale, (), next(iter(evals), [])))
    loose = [(place, probes) for place in loose_probes(folder, found)
             for probes in _attempt(place, unreadable, probes_in, place)]  # fmt: skip
    groups = _with_loose(groups, loose)
    paper, authors = (gate.read_yaml(PAPER / f"{name}.yaml") for name in ("results", "authors"))
    return Book(folder, tuple(runs), unreadable, tuple(groups), rules["claims"], paper, authors)


def _attempt(
    place: Path, unreadable: dict[Path, str], make: Callable[..., Made], *given: Any
) -> list[Made]:
    """A list with the result of `make`. On failure, an empty list and an entry in `unreadable`."""
    try:
        return [make(*given)]
    # Any error in one folder must not keep the others out of the report.
    except Exception as error:
        unreadable[place] = _reason(error)
        return []


def _read_run(place: Path) -> Run:
    """Reads one run; raises if its settings lack a key that every report needs."""
    run = read(place)
    [condition] = gather([run])
    _ = (condition.pair, condition.task, condition.tune, condition.timed)
    _ = (run.seed, run.config["pair"]["teacher"]["path"])
    return run


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"lacks {error}"
    return gate.one_line(error)[:200] or type(error).__name__


def _sweep(condition: Condition, conditions: list[Condition]) -> list[int]:
    return [each.tokens for each in conditions if each.family == condition.family]


def _differing_settings(x: Condition, y: Condition, a: str, b: str) -> list[str]:
    """The settings that differ, except those that define the two roles."""
    tuned = ("tune",) if a.partition("_by_")[2] != b.partition("_by_")[2] else ()
    return differing(x.settings, y.settings, (*ROLES, *tuned))


def _with_loose(groups: list[Group], found: list[tuple[Path, dict[str, Rows]]]) -> list[Group]:
    """Assigns each probe of a pair alone to one group: the one whose benchmark it was made on."""
    loose: dict[int, list[Probe]] = {}
    for place, probes in found:
        for name, rows in probes.items():
            pair, benchmarks = _made_with(place, name)
            of_pair = [i for i, group in enumerate(groups) if group.pair == pair["name"]]
            fit = [i for i in of_pair if groups[i].benchmark in benchmarks] or of_pair
            for i in fit[:1]:
                loose.setdefault(i, []).append(Probe(name, place.name, rows, **_student(pair)))
    return [replace(group, loose=tuple(loose.get(i, ()))) for i, group in enumerate(groups)]


def _made_with(place: Path, name: str) -> tuple[dict[str, Any], list[str]]:
    """The settings of the pair and the benchmarks of a probe, from the file beside its rows.

    Without it, the parent folder is named after the pair.
    """
    saved = settings_at(place / f"{name}.yaml")
    others = [settings_at(path) for path in sorted(place.glob("*.yaml"))]
    pairs = [each.get("pair") or {} for each in (saved, *others)]
    pair = next((each for each in pairs if each.get("name")), {"name": place.parent.name})
    return pair, list(saved.get("benchmark") or ())


def _student(pair: dict[str, Any]) -> dict[str, str]:
    """The population of a pair's student, and its path; empty if it is of none."""
    population = str(pair.get("population") or "")
    path = str((pair.get("student") or {}).get("path") or "")
    return {"population": population, "student": path} if population else {}
