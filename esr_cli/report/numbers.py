"""Numbers of a condition: means over seeds with 95 % intervals, and differences of conditions.

In a population students take the place of seeds; a student's figure is the mean of its runs.

Accuracy is known per question. Its interval therefore covers new seeds and new questions
(`seeds.over_seeds`), and two conditions are compared on the same seeds and questions. For other
figures each run gives a value, some with an interval over questions: the spread over runs
(Student's t) and the mean width of these intervals are added in squares. A figure without
questions, such as a time, has no interval if there is one run: its steps are no sample of runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean, median
from typing import TypeVar

from esr_cli.base.seeds import mean_by_key, over_seeds
from esr_cli.base.statistics import Interval, mean_difference, mean_interval
from esr_cli.report.conditions import Condition
from esr_cli.report.number import (
    Number,
    minus,
    number,
    over_plain_runs,
    over_runs,
    paired_ratio,
    ratio,
)
from esr_cli.runs.record import Run, Scores

T = TypeVar("T")
# Selects a step of a run for a benchmark, or none.
Moment = Callable[[Run, str], "int | None"]


def held_out(run: Run, benchmark: str) -> int | None:
    """The best checkpoint without flattery, which is no single step: see `_held_out`."""
    return None


MOMENTS: dict[str, Moment] = {
    "before": lambda run, benchmark: next(iter(run.steps(benchmark)), None),
    "last": lambda run, benchmark: next(reversed(run.steps(benchmark)), None),
    "best": lambda run, benchmark: run.best(benchmark),
    "held_out": held_out,
}


def accuracy(condition: Condition, benchmark: str, moment: str) -> Number | None:
    """avg@k at the `last` evaluation, the `best` checkpoint of each seed, or `before` training.

    The best of several accuracies is partly best by chance, which flatters. `held_out` chooses it
    on half of the questions and scores it on the other half, both ways.
    """
    return accuracy_at(condition, benchmark, MOMENTS[moment])


def accuracy_at(condition: Condition, benchmark: str, moment: Moment) -> Number | None:
    """avg@k at the step of each run that `moment` selects."""
    number = _share(condition, benchmark, _right, moment)
    number = number or metric_at(condition, benchmark, "avg@", moment)
    return number.within(0, 1) if number else None


def several_boxes(condition: Condition, benchmark: str, moment: str) -> Number | None:
    """Share of responses with more than one box."""
    return several_boxes_at(condition, benchmark, MOMENTS[moment])


def several_boxes_at(condition: Condition, benchmark: str, moment: Moment) -> Number | None:
    """Share of responses with more than one box, at the step that `moment` selects."""
    number = _share(condition, benchmark, lambda run: run.boxes, moment)
    return number.within(0, 1) if number else None


def metric(condition: Condition, benchmark: str, name: str, moment: str) -> Number | None:
    """A metric of eval.jsonl at the moment. A name that ends in `@` matches the largest k."""
    return metric_at(condition, benchmark, name, MOMENTS[moment])


def metric_at(condition: Condition, benchmark: str, name: str, moment: Moment) -> Number | None:
    """A metric of eval.jsonl at the step of each run that `moment` selects."""

    def interval(run: Run) -> Interval | None:
        step = moment(run, benchmark)
        row = None if step is None else run.row(benchmark, name, step)
        return (row["value"], row["low"], row["high"]) if row else None

    found = _of_units(condition, interval).values()
    if not found:
        return None
    intervals = [[fmean(ends) for ends in zip(*each, strict=True)] for each in found]
    number = over_runs([(value, low, high) for value, low, high in intervals])
    # All but lengths are shares.
    return number.within(0, math.inf if name.startswith("length") else 1)


def difference(
    a: Condition, b: Condition, benchmark: str, moment_a: str, moment_b: str | None = None
) -> Number | None:
    """Accuracy of `a` minus that of `b`, paired over the seeds and questions that both have.

    If they share none, the two are treated as independent.
    """
    scores_a = _scores(a, benchmark, _right, MOMENTS[moment_a])
    scores_b = _scores(b, benchmark, _right, MOMENTS[moment_b or moment_a])
    both = {seed: _minus(scores_a[seed], scores_b[seed]) for seed in scores_a if seed in scores_b}
    paired = _over(both, mean_difference)
    if paired:
        return paired.within(-1, 1)
    first = accuracy(a, benchmark, moment_a)
    second = accuracy(b, benchmark, moment_b or moment_a)
    return minus(first, second) if first and second else None


def fall(condition: Condition, benchmark: str) -> Number | None:
    """Accuracy at each seed's best checkpoint, held out, minus accuracy at its last."""
    return difference(condition, condition, benchmark, "held_out", "last")


def fall_difference(a: Condition, b: Condition, benchmark: str) -> Number | None:
    """How much further `a` falls from its best checkpoint, held out, to its last than `b` does."""
    falls = []
    for condition in (a, b):
        best, last = (
            _scores(condition, benchmark, _right, MOMENTS[at]) for at in ("held_out", "last")
        )
        falls.append({unit: _minus(best[unit], last[unit]) for unit in best if unit in last})
    shared = [unit for unit in a.units if unit in b.units]
    if not all(unit in each for unit in shared for each in falls):
        return None
    rows = {unit: _minus(falls[0][unit], falls[1][unit]) for unit in shared}
    found = _over(rows, partial(mean_difference, most=2))
    # A true fall lies between none and all.
    return found.within(-1, 1) if found else None


def phase_seconds(condition: Condition, phase: str) -> Number | None:
    """Median seconds per step of a phase (generate, score, train, sync), or of the full `step`."""
    found = over_plain_runs(_of_column(condition, f"time/{phase}_s", median))
    return found.within(0, math.inf) if found else None


def peak_gib(condition: Condition) -> Number | None:
    """Peak memory of the trainer process in GiB."""
    return over_plain_runs(_of_column(condition, "memory/peak_gib", max))


def sampled_tokens(condition: Condition) -> Number | None:
    """Response tokens that the student sampled in a whole training, without evaluations."""
    return over_plain_runs(_of_column(condition, "rollout/tokens", sum))


def training_seconds(condition: Condition) -> Number | None:
    """Seconds of all steps of a training, without its start and its evaluations."""
    return over_plain_runs(_of_column(condition, "time/step_s", sum))


def tokens_a_step(condition: Condition) -> float | None:
    """Median number of response tokens per step."""
    counts = [each for run in condition.done for each in run.column("rollout/tokens")]
    return float(median(counts)) if counts else None


def length_ratio(a: Condition, b: Condition, benchmark: str) -> Number | None:
    """Mean response length of `a` divided by that of `b` at the last evaluation.

    Paired over the seeds that both have; if they share none, the two are treated as independent.
    """
    sides = []
    for condition in (a, b):
        rows = _of_units(condition, lambda run: run.row(
            benchmark, "length_tokens/mean", next(reversed(run.steps(benchmark)), -1)))  # fmt: skip
        sides.append({unit: fmean(row["value"] for row in found) for unit, found in rows.items()})
    both = [unit for unit in sides[0] if unit in sides[1]]
    if both:
        return paired_ratio(*([side[unit] for unit in both] for side in sides))
    first, second = (metric(each, benchmark, "length_tokens/mean", "last") for each in (a, b))
    return ratio(first, second) if first and second else None


def _share(
    condition: Condition, benchmark: str, of: Callable[[Run], Scores], moment: Moment
) -> Number | None:
    """The mean of a share of the responses, over seeds and questions."""
    found = _scores(condition, benchmark, of, moment)
    samples = sum(
        _samples(run, benchmark, moment) for unit in found for run in condition.units[unit]
    )
    return _over(found, partial(mean_interval, samples=samples))


def _samples(run: Run, benchmark: str, moment: Moment) -> int:
    step = run.best(benchmark) if moment is held_out else moment(run, benchmark)
    return 1 if step is None else run.samples(benchmark, step)


def _scores(
    condition: Condition, benchmark: str, of: Callable[[Run], Scores], moment: Moment
) -> dict[int | str, dict[str, float]]:
    """The figure of every question by id, for each seed or student, at the selected step."""
    found = _of_units(condition, lambda run: _by_id(run, benchmark, of, moment))
    return {unit: mean_by_key(by_ids) for unit, by_ids in found.items()}


def _of_units(condition: Condition, of: Callable[[Run], T | None]) -> dict[int | str, list[T]]:
    """What `of` gives for the runs of each seed or student, without those that have nothing."""
    found = {unit: [of(run) for run in runs] for unit, runs in condition.units.items()}
    known = {unit: [each for each in values if each] for unit, values in found.items()}
    return {unit: values for unit, values in known.items() if values}


def _of_column(
    condition: Condition, name: str, of: Callable[[Sequence[float]], float]
) -> list[float]:
    """The mean over the runs of each seed or student of a figure of one column of the metrics."""
    found = _of_units(condition, lambda run: run.column(name))
    return [fmean(of(column) for column in columns) for columns in found.values()]


def _by_id(
    run: Run, benchmark: str, of: Callable[[Run], Scores], moment: Moment
) -> dict[str, float] | None:
    if moment is held_out:
        return _held_out(run, benchmark, of(run))
    step = moment(run, benchmark)
    return of(run).get((benchmark, step)) if step is not None else None


def _held_out(run: Run, benchmark: str, scores: Scores) -> dict[str, float] | None:
    """Each question's figure at the checkpoint that is best on the other half of the questions.

    None with a single checkpoint, which is no choice.
    """
    steps = [step for step in run.steps(benchmark) if step > 0 and (benchmark, step) in run.right]
    known = [run.right[benchmark, step] for step in steps]
    ids = sorted(name for name in known[0] if all(name in each for each in known)) if known else []
    if len(ids) < 2 or len(steps) < 2:
        return None
    found: dict[str, float] = {}
    for scored, choosing in ((ids[::2], ids[1::2]), (ids[1::2], ids[::2])):
        sums = [sum(each[name] for name in choosing) for each in known]
        best = scores.get((benchmark, steps[sums.index(max(sums))]), {})
        found |= {name: best[name] for name in scored if name in best}
    return found


def _right(run: Run) -> Scores:
    return run.right


def _minus(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    return {name: a[name] - b[name] for name in a if name in b}


def _over(
    by_unit: dict[int | str, dict[str, float]], over: Callable[[Sequence[float]], Interval]
) -> Number | None:
    known = list(by_unit.values())
    shared = [name for name in (known[0] if known else {}) if all(name in row for row in known)]
    if not shared:
        return None
    rows = [[row[name] for name in shared] for row in known]
    return number(over_seeds(rows, over), [sum(row) / len(row) for row in rows], list(by_unit))
