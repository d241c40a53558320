"""Panels: conditions that were asked the same questions of one benchmark, and so share a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from esr_cli.base.words import counted
from esr_cli.report import numbers
from esr_cli.report.book import Group
from esr_cli.report.conditions import Condition
from esr_cli.report.measures import matching
from esr_cli.report.number import Number
from esr_cli.runs.record import interval_of, of_metric
from esr_cli.runs.settings import ROLES, differing, in_words

# The number of questions, the metric, and a hash of wording, sampling and budget.
Asked = tuple[int, str, str]


@dataclass(frozen=True)
class Line:
    """A condition of a panel: its last accuracy, that minus the reference's on the same questions
    and seeds (None for the reference), and what its training cost.
    """

    condition: Condition
    accuracy: Number
    difference: Number | None
    tokens: Number | None
    seconds: Number | None
    peak_gib: Number | None

    @property
    def label(self) -> str:
        """The condition's label."""
        return self.condition.label


@dataclass(frozen=True)
class Panel:
    """The complete conditions of a group that one benchmark asked alike: the same number of
    questions (`asked`), with the same wording, sampling and budget. `how` says in what these differ
    from those of another panel of the same name.
    """

    group: Group
    benchmark: str
    metric: str
    asked: int
    conditions: tuple[Condition, ...]
    how: str = ""

    @property
    def name(self) -> str:
        """Benchmark, metric and number of questions: `lab avg@1, 64 questions`."""
        words = [f"{self.benchmark} {self.metric}", counted(self.asked, "question"), self.how]
        return ", ".join(filter(None, words))

    @property
    def seeds(self) -> int:
        """The number of seeds or students of the condition that has the fewest."""
        return min(len(condition.units) for condition in self.conditions)

    @property
    def unit(self) -> str:
        """Seed, or student in a population."""
        return self.conditions[0].unit

    @cached_property
    def reference(self) -> Condition:
        """What the others are compared with: full rollouts if there are some, else the best.

        Of several it is the one that agrees with most others in all other settings.
        """
        full = [each for each in self.conditions if each.kind == "full"]
        if full:
            return max(full, key=self._comparable)
        return max(self.conditions, key=lambda each: self.accuracy(each).value)

    @cached_property
    def lines(self) -> list[Line]:
        """The conditions in the order of the report: full rollouts, then by N."""
        return [
            Line(
                each, self.accuracy(each),
                None if each is self.reference else self.minus(each, self.reference),
                numbers.sampled_tokens(each), numbers.training_seconds(each),
                numbers.peak_gib(each),
            )
            for each in self.conditions
        ]  # fmt: skip

    @cached_property
    def ranked(self) -> list[Line]:
        """The lines by accuracy, the best first; of equal ones the cheapest."""
        return sorted(self.lines, key=lambda line: (
            -line.accuracy.value, line.tokens.value if line.tokens else 0.0))  # fmt: skip

    @property
    def start(self) -> Number | None:
        """Accuracy of the student before training."""
        found = start_of(self.conditions, self.benchmark)
        return numbers.accuracy(found, self.benchmark, "before") if found else None

    @property
    def teacher(self) -> Number | None:
        """Accuracy of the teacher on as many questions, if it was evaluated."""
        return teacher_in(self.group, self.benchmark, "avg@", self.asked)

    @property
    def gain(self) -> Number | None:
        """The best condition's last accuracy minus that before its training."""
        best = self.ranked[0].condition
        return numbers.difference(best, best, self.benchmark, "last", "before")

    def accuracy(self, condition: Condition) -> Number:
        """The accuracy of one of the panel's conditions at its last evaluation."""
        found = numbers.accuracy(condition, self.benchmark, "last")
        assert found  # a condition without one is in no panel
        return found

    def minus(self, a: Condition, b: Condition) -> Number | None:
        """The last accuracy of `a` minus that of `b`, paired over questions and seeds."""
        return numbers.difference(a, b, self.benchmark, "last")

    def _comparable(self, full: Condition) -> int:
        return sum(not differing(each.settings, full.settings, ROLES) for each in self.conditions)


def panels(group: Group) -> list[Panel]:
    """The panels of a group: its own benchmark first, then those of most conditions."""
    found: dict[tuple[str, Asked], list[Condition]] = {}
    for benchmark in benchmarks_of(group):
        graded = [each for each in group.graded if numbers.accuracy(each, benchmark, "last")]
        for condition, asked in zip(graded, _asked(graded, benchmark), strict=True):
            found.setdefault((benchmark, asked), []).append(condition)
    made = [
        Panel(group, benchmark, metric, questions, tuple(_plainly(conditions)))
        for (benchmark, (questions, metric, _)), conditions in found.items()
    ]
    made = [replace(each, how=_how(each, made)) for each in made]
    return sorted(made, key=lambda each: (
        each.benchmark != group.benchmark, -len(each.conditions), -each.asked))  # fmt: skip


def _plainly(conditions: Sequence[Condition]) -> list[Condition]:
    """The conditions without the number of questions in their labels, if all share it."""
    words = {in_words("limit", each.config["limit"]) for each in conditions}
    if len(words) > 1:
        return list(conditions)
    labels = [each.label.replace(f", {next(iter(words))}", "") for each in conditions]
    if len(set(labels)) < len(labels):
        return list(conditions)
    return [replace(each, label=label) for each, label in zip(conditions, labels, strict=True)]


def benchmarks_of(group: Group) -> list[str]:
    """The benchmarks of the group's complete runs, its main one first."""
    runs = [run for condition in group.graded for run in condition.done]
    names = {row["benchmark"]: None for run in runs for row in run.evals}
    return sorted(names, key=lambda name: name != group.benchmark)


def start_of(conditions: Sequence[Condition], benchmark: str) -> Condition | None:
    """The condition whose first evaluation asked the most questions, with the most seeds of these:
    it knows best where the student starts. None if no condition was evaluated.
    """
    known = [each for each in conditions if numbers.accuracy(each, benchmark, "before")]
    return max(
        known, key=lambda each: (_questions(each, benchmark, 0), len(each.units)), default=None
    )


def teacher_in(
    group: Group, benchmark: str, metric: str, asked: int | None = None
) -> Number | None:
    """The teacher's figure in one benchmark, from an evaluation of the teacher or a decay probe.

    With `asked`, of that many questions alone.
    """
    evaluated = (row for row in group.teacher if row["benchmark"] == benchmark)
    row = of_metric(evaluated, metric)
    if not row and metric == "avg@" and benchmark == group.benchmark:
        wanted = {"figure": "accuracy", "where": {"who": "teacher"}}
        probed = [row for probe in group.probes("decay") for row in matching(probe.rows, wanted)]
        row = next(iter(probed), None)
    if not row or (asked is not None and row.get("n") not in (None, asked)):
        return None
    return Number(*interval_of(row)).within(0, 1)


def _asked(conditions: Sequence[Condition], benchmark: str) -> list[Asked]:
    """What each condition was asked in its last evaluation.

    A question that could not be judged was still asked, so conditions with the same settings of
    the evaluation have the same number.
    """
    rows = [_row(each, benchmark, -1) for each in conditions]
    settings = [
        (str(each.config["limit"]), str(_of_benchmark(each, benchmark)), row["settings"])
        for each, row in zip(conditions, rows, strict=True)
    ]
    judged = [_questions(each, benchmark, -1) for each in conditions]
    most = dict[Any, int]()
    for key, count in zip(settings, judged, strict=True):
        most[key] = max(most.get(key, 0), count)
    return [
        (most[key], row["metric"], row["settings"])
        for key, row in zip(settings, rows, strict=True)
    ]  # fmt: skip


def _row(condition: Condition, benchmark: str, at: int) -> dict[str, str]:
    """Metric and settings of the first (0) or the last (-1) evaluation of a condition."""
    for run in condition.done:
        if (steps := run.steps(benchmark)) and (row := run.row(benchmark, "avg@", steps[at])):
            return {key: str(row.get(key) or "") for key in ("metric", "settings")}
    return {"metric": "avg@k", "settings": ""}


def _questions(condition: Condition, benchmark: str, at: int) -> int:
    """The number of questions in the first or last evaluation of the run that has the most."""
    counts = [0]
    for run in condition.done:
        if steps := run.steps(benchmark):
            row = run.row(benchmark, "avg@", steps[at]) or {}
            known = len(run.right.get((benchmark, steps[at]), ()))
            counts.append(max(int(row.get("n") or 0), known))
    return max(counts)


def _how(panel: Panel, others: Sequence[Panel]) -> str:
    """The settings in which a panel's evaluations differ from those of its namesakes, in words."""
    mine = _of_benchmark(panel.conditions[0], panel.benchmark)
    key = (panel.benchmark, panel.metric, panel.asked)
    theirs = [
        _of_benchmark(each.conditions[0], each.benchmark) for each in others
        if each is not panel and (each.benchmark, each.metric, each.asked) == key
    ]  # fmt: skip
    differ = [name for name in mine if any(each.get(name) != mine[name] for each in theirs)]
    return ", ".join(in_words(name.split(".")[-1], mine[name]) for name in differ)


def _of_benchmark(condition: Condition, benchmark: str) -> dict[str, Any]:
    """The settings of a condition's evaluation on a benchmark, by their dotted names."""
    return {key: value for key, value in condition.settings.items()
            if key.startswith(f"benchmark.{benchmark}.")}  # fmt: skip
