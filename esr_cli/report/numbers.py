"""Numbers of a condition: means over seeds with 95 % intervals, and differences of conditions.

Accuracy is known per question. Its interval therefore covers new seeds and new questions
(`seeds.over_seeds`), and two conditions are compared on the same seeds and questions. For other
figures each run gives a value, some with an interval over questions: the spread over runs
(Student's t) and the mean width of these intervals are added in squares. A figure without
questions, such as a time, has no interval if there is one run: its steps are no sample of runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from esr_cli.base.seeds import Estimate, added, estimate, over_seeds, seed_error
from esr_cli.base.statistics import Interval, mean_difference, mean_interval
from esr_cli.report.conditions import Condition
from esr_cli.runs.record import Run, Scores

# The logarithm of the largest float, rounded down.
MOST_LOG = 709
# Selects a step of a run for a benchmark, or none.
Moment = Callable[[Run, str], "int | None"]
MOMENTS: dict[str, Moment] = {
    "before": lambda run, benchmark: next(iter(run.steps(benchmark)), None),
    "last": lambda run, benchmark: next(reversed(run.steps(benchmark)), None),
    "best": lambda run, benchmark: run.best(benchmark),
}


@dataclass(frozen=True)
class Number(Estimate):
    """A mean over seeds, its 95 % interval, and the value of each seed."""

    seeds: tuple[float, ...] = ()

    def scaled(self, by: float) -> Number:
        """The number multiplied by `by`, in another unit."""
        seeds = tuple(by * each for each in self.seeds)
        low, high, error = (by * each for each in (self.low, self.high, self.error))
        return Number(by * self.value, low, high, error, self.df, seeds)

    def within(self, low: float, high: float) -> Number:
        """The number with its interval clipped to the range of the figure."""
        return replace(self, low=max(low, self.low), high=min(high, self.high))


def number(found: Estimate, seeds: Sequence[float] = ()) -> Number:
    """An estimate with the value of each seed."""
    return Number(found.value, found.low, found.high, found.error, found.df, tuple(seeds))


def accuracy(condition: Condition, benchmark: str, moment: str) -> Number | None:
    """avg@k at the `last` evaluation, the `best` checkpoint of each seed, or `before` training."""
    return accuracy_at(condition, benchmark, MOMENTS[moment])


def accuracy_at(condition: Condition, benchmark: str, moment: Moment) -> Number | None:
    """avg@k at the step of each run that `moment` selects."""
    number = _share(condition, benchmark, lambda run: run.right, moment)
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
    rows = []
    for run in condition.done.values():
        step = moment(run, benchmark)
        rows.append(None if step is None else run.row(benchmark, name, step))
    intervals = [(row["value"], row["low"], row["high"]) for row in rows if row]
    return over_runs(intervals) if intervals else None


def difference(
    a: Condition, b: Condition, benchmark: str, moment_a: str, moment_b: str | None = None
) -> Number | None:
    """Accuracy of `a` minus that of `b`, paired over the seeds and questions that both have.

    If they share none, the two are treated as independent.
    """
    scores_a = _scores(a, benchmark, lambda run: run.right, MOMENTS[moment_a])
    scores_b = _scores(b, benchmark, lambda run: run.right, MOMENTS[moment_b or moment_a])
    both = [_minus(scores_a[seed], scores_b[seed]) for seed in scores_a if seed in scores_b]
    paired = _over(both, mean_difference)
    if paired:
        return paired.within(-1, 1)
    first = accuracy(a, benchmark, moment_a)
    second = accuracy(b, benchmark, moment_b or moment_a)
    return minus(first, second) if first and second else None


def fall(condition: Condition, benchmark: str) -> Number | None:
    """Accuracy at each seed's best checkpoint minus accuracy at its last."""
    return difference(condition, condition, benchmark, "best", "last")


def fall_difference(a: Condition, b: Condition, benchmark: str) -> Number | None:
    """How much further `a` falls from its best checkpoint to its last than `b` does.

    A best checkpoint is partly best by chance. The fall of a single condition would count that
    chance as an effect; it cancels in the difference.
    """
    rows = []
    for seed in [seed for seed in a.done if seed in b.done]:
        falls = []
        for condition in (a, b):
            run = condition.done[seed]
            best, last = run.best(benchmark), MOMENTS["last"](run, benchmark)
            ends = [run.right.get((benchmark, step)) for step in (best, last) if step is not None]
            if len(ends) < 2 or ends[0] is None or ends[1] is None:
                return None
            falls.append(_minus(ends[0], ends[1]))
        rows.append(_minus(falls[0], falls[1]))
    return _over(rows, partial(mean_difference, most=2))


def phase_seconds(condition: Condition, phase: str) -> Number | None:
    """Median seconds per step of a phase (generate, score, train, sync), or of the full `step`."""
    columns = [run.column(f"time/{phase}_s") for run in condition.done.values()]
    found = over_plain_runs([float(median(column)) for column in columns if column])
    return found.within(0, math.inf) if found else None


def peak_gib(condition: Condition) -> Number | None:
    """Peak memory of the trainer process in GiB."""
    columns = [run.column("memory/peak_gib") for run in condition.done.values()]
    return over_plain_runs([max(column) for column in columns if column])


def tokens_a_step(condition: Condition) -> float | None:
    """Median number of response tokens per step."""
    counts = [each for run in condition.done.values() for each in run.column("rollout/tokens")]
    return float(median(counts)) if counts else None


def over_runs(intervals: Sequence[Interval]) -> Number:
    """The mean of a figure over runs, each with its own interval over the same questions."""
    values = [value for value, _, _ in intervals]
    below = sum(value - low for value, low, _ in intervals) / len(intervals)
    above = sum(high - value for value, _, high in intervals) / len(intervals)
    found = estimate(sum(values) / len(values), below, above, *seed_error(values))
    return number(found, values)


def over_plain_runs(values: Sequence[float]) -> Number | None:
    """The mean of a figure over runs by Student's t; a single run has no finite interval."""
    unknown = math.inf if len(values) == 1 else 0.0
    return (
        over_runs([(each, each - unknown, each + unknown) for each in values]) if values else None
    )


def minus(a: Number, b: Number) -> Number:
    """a - b of two independent numbers."""
    error, df = added([(a.error, a.df), (b.error, b.df)])
    below = math.hypot(a.of_questions(-1), b.of_questions(1))
    above = math.hypot(a.of_questions(1), b.of_questions(-1))
    return number(estimate(a.value - b.value, below, above, error, df))


def ratio(a: Number, b: Number) -> Number | None:
    """a / b of two independent numbers, computed on logarithms; None if a value is not positive.

    `error` and `df` are those of the logarithm.
    """
    if min(a.value, b.value) <= 0:
        return None
    logs = minus(_log(a), _log(b))
    return _of_logarithm(logs)


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> Number | None:
    """The geometric mean of a / b over seeds that both have, by Student's t on its logarithm.

    None if a value is not positive. The questions are those of both, so their spread cancels.
    """
    if min(*a, *b) <= 0:
        return None
    logs = over_plain_runs([math.log(x / y) for x, y in zip(a, b, strict=True)])
    assert logs is not None
    return replace(_of_logarithm(logs), seeds=tuple(x / y for x, y in zip(a, b, strict=True)))


def length_ratio(a: Condition, b: Condition, benchmark: str) -> Number | None:
    """Mean response length of `a` divided by that of `b` at the last evaluation.

    Paired over the seeds that both have; if they share none, the two are treated as independent.
    """
    sides = []
    for condition in (a, b):
        rows = {seed: run.row(benchmark, "length_tokens/mean", run.steps(benchmark)[-1])
                for seed, run in condition.done.items() if run.steps(benchmark)}  # fmt: skip
        sides.append({seed: row["value"] for seed, row in rows.items() if row})
    both = [seed for seed in sides[0] if seed in sides[1]]
    if both:
        return paired_ratio(*([side[seed] for seed in both] for side in sides))
    first, second = (metric(each, benchmark, "length_tokens/mean", "last") for each in (a, b))
    return ratio(first, second) if first and second else None


def logarithm(ratio: Number) -> Number:
    """The logarithm of a number of `ratio`."""
    return replace(ratio, value=math.log(ratio.value), high=math.log(ratio.high),
                   low=math.log(ratio.low) if ratio.low > 0 else -math.inf)  # fmt: skip


def _of_logarithm(logs: Number) -> Number:
    return replace(logs, value=_exp(logs.value), low=_exp(logs.low), high=_exp(logs.high))


def _exp(value: float) -> float:
    return math.exp(value) if value < MOST_LOG else math.inf


def _log(number: Number) -> Number:
    # The relative width approximates the width of the logarithm: a bound may be below zero.
    value = math.log(number.value)
    below = (number.value - number.low) / number.value
    above = (number.high - number.value) / number.value
    return replace(number, value=value, low=value - below, high=value + above,
                   error=number.error / number.value)  # fmt: skip


def _share(
    condition: Condition, benchmark: str, of: Callable[[Run], Scores], moment: Moment
) -> Number | None:
    """The mean of a share of the responses, over seeds and questions."""
    found = _scores(condition, benchmark, of, moment)
    samples = sum(_samples(condition.done[seed], benchmark, moment) for seed in found)
    return _over(list(found.values()), partial(mean_interval, samples=samples))


def _samples(run: Run, benchmark: str, moment: Moment) -> int:
    step = moment(run, benchmark)
    return 1 if step is None else run.samples(benchmark, step)


def _scores(
    condition: Condition, benchmark: str, of: Callable[[Run], Scores], moment: Moment
) -> dict[int, dict[str, float]]:
    """The figure of every question by id, for each seed, at the step that `moment` selects."""
    found = {}
    for seed, run in condition.done.items():
        step = moment(run, benchmark)
        by_id = of(run).get((benchmark, step)) if step is not None else None
        if by_id:
            found[seed] = by_id
    return found


def _minus(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    return {name: a[name] - b[name] for name in a if name in b}


def _over(
    by_seed: Sequence[dict[str, float]], over: Callable[[Sequence[float]], Interval]
) -> Number | None:
    first = by_seed[0] if by_seed else {}
    shared = [name for name in first if all(name in row for row in by_seed)]
    if not shared:
        return None
    rows = [[row[name] for name in shared] for row in by_seed]
    return number(over_seeds(rows, over), [sum(row) / len(row) for row in rows])
