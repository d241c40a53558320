"""Numbers of an arm: the mean over its seeds with a 95 % interval, and how two arms differ.

Accuracy is known question by question, so that its interval speaks of new seeds and new questions
(`statistics.over_seeds`), and two arms are compared on the same seeds and questions. Of other
figures each run tells a value with its own interval: their spread over runs (Student's t) and the
width of one add up in squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np

from esr_cli.base.statistics import (
    Interval,
    bootstrap,
    mean_difference,
    mean_interval,
    over_seeds,
    seed_spread,
)
from esr_cli.report.arms import Arm
from esr_cli.runs.record import Run, Scores

# Chooses a step of a run, or none.
Moment = Callable[[Run, str], "int | None"]
MOMENTS: dict[str, Moment] = {
    "before": lambda run, benchmark: next(iter(run.steps(benchmark)), None),
    "last": lambda run, benchmark: next(reversed(run.steps(benchmark)), None),
    "best": lambda run, benchmark: run.best(benchmark),
}


@dataclass(frozen=True)
class Number:
    """A mean over seeds, its 95 % interval, and what each seed gave."""

    value: float
    low: float
    high: float
    seeds: tuple[float, ...]

    def scaled(self, by: float) -> Number:
        """In another unit."""
        seeds = tuple(by * each for each in self.seeds)
        return Number(by * self.value, by * self.low, by * self.high, seeds)

    def within(self, low: float, high: float) -> Number:
        """With an interval that stays in the range that the figure has."""
        return replace(self, low=max(low, self.low), high=min(high, self.high))


def accuracy(arm: Arm, benchmark: str, moment: str) -> Number | None:
    """avg@k at the `last` evaluation, the `best` checkpoint of each seed, or `before` training."""
    return accuracy_at(arm, benchmark, MOMENTS[moment])


def accuracy_at(arm: Arm, benchmark: str, moment: Moment) -> Number | None:
    """avg@k at a step that `moment` chooses of each run."""
    number = _share(arm, benchmark, lambda run: run.right, moment)
    number = number or metric_at(arm, benchmark, "avg@", moment)
    return number.within(0, 1) if number else None


def several_boxes(arm: Arm, benchmark: str, moment: str) -> Number | None:
    """Share of responses with more than one box."""
    return several_boxes_at(arm, benchmark, MOMENTS[moment])


def several_boxes_at(arm: Arm, benchmark: str, moment: Moment) -> Number | None:
    """The same at a step that `moment` chooses of each run."""
    number = _share(arm, benchmark, lambda run: run.boxes, moment)
    return number.within(0, 1) if number else None


def metric(arm: Arm, benchmark: str, name: str, moment: str) -> Number | None:
    """Any figure of eval.jsonl at the moment; a name that ends in `@` stands for any k."""
    return metric_at(arm, benchmark, name, MOMENTS[moment])


def metric_at(arm: Arm, benchmark: str, name: str, moment: Moment) -> Number | None:
    """Any figure of eval.jsonl at a step that `moment` chooses of each run."""
    rows = []
    for run in arm.done.values():
        step = moment(run, benchmark)
        rows.append(None if step is None else run.row(benchmark, name, step))
    told = [(row["value"], row["low"], row["high"]) for row in rows if row]
    return over_runs(told) if told else None


def difference(
    a: Arm, b: Arm, benchmark: str, moment_a: str, moment_b: str | None = None
) -> Number | None:
    """Accuracy of `a` minus that of `b`: over the seeds and questions that both have, or as two
    numbers that know nothing of each other where they have none.
    """
    ours = _scores(a, benchmark, lambda run: run.right, MOMENTS[moment_a])
    theirs = _scores(b, benchmark, lambda run: run.right, MOMENTS[moment_b or moment_a])
    both = [_minus(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
    paired = _over(both, mean_difference)
    if paired:
        return paired.within(-1, 1)
    alone = accuracy(a, benchmark, moment_a), accuracy(b, benchmark, moment_b or moment_a)
    return minus(alone[0], alone[1]) if alone[0] and alone[1] else None


def fall(arm: Arm, benchmark: str) -> Number | None:
    """Accuracy at each seed's best checkpoint minus that at its last."""
    return difference(arm, arm, benchmark, "best", "last")


def fall_difference(a: Arm, b: Arm, benchmark: str) -> Number | None:
    """How much further `a` falls from its best checkpoint to its last than `b` does.

    A best checkpoint is chosen by its luck too, which one arm's fall alone would count as real.
    """
    rows = []
    for seed in [seed for seed in a.done if seed in b.done]:
        falls = []
        for arm in (a, b):
            run = arm.done[seed]
            best, last = run.best(benchmark), MOMENTS["last"](run, benchmark)
            ends = [run.right.get((benchmark, step)) for step in (best, last) if step is not None]
            if len(ends) < 2 or ends[0] is None or ends[1] is None:
                return None
            falls.append(_minus(ends[0], ends[1]))
        rows.append(_minus(falls[0], falls[1]))
    return _over(rows, partial(mean_difference, most=2))


def phase_seconds(arm: Arm, phase: str) -> Number | None:
    """Median seconds a step of `generate`, `score`, `train`, `sync` or `step` in all."""
    told: list[Interval] = []
    for run in arm.done.values():
        if seconds := run.column(f"time/{phase}_s"):
            told.append(bootstrap(seconds, lambda rows: np.median(rows, axis=-1)))
    return over_runs(told).within(0, math.inf) if told else None


def peak_gib(arm: Arm) -> Number | None:
    """Peak memory of the trainer's process; one run alone tells nothing of its spread."""
    columns = [run.column("memory/peak_gib") for run in arm.done.values()]
    peaks = [max(column) for column in columns if column]
    if len(peaks) == 1:
        return Number(peaks[0], -math.inf, math.inf, tuple(peaks))
    return over_runs([(peak, peak, peak) for peak in peaks]) if peaks else None


def tokens_a_step(arm: Arm) -> float | None:
    """Median response tokens of a step."""
    counts = [each for run in arm.done.values() for each in run.column("rollout/tokens")]
    return float(median(counts)) if counts else None


def over_runs(told: Sequence[Interval]) -> Number:
    """The mean of one figure of several runs, each with its own interval."""
    values = [value for value, _, _ in told]
    mean, spread = sum(values) / len(values), seed_spread(values)
    below = sum(value - low for value, low, _ in told) / len(told)
    above = sum(high - value for value, _, high in told) / len(told)
    return Number(mean, mean - math.hypot(spread, below), mean + math.hypot(spread, above),
                  tuple(values))  # fmt: skip


def minus(a: Number, b: Number) -> Number:
    """a - b of two numbers that know nothing of each other."""
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    return Number(value, low, value + math.hypot(a.high - a.value, b.value - b.low), ())


def ratio(a: Number, b: Number) -> Number | None:
    """a / b, by their logarithms; none where one may be zero or less."""
    if min(a.value, b.value) <= 0:
        return None
    logs = minus(_log(a), _log(b))
    return Number(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), ())


def _log(number: Number) -> Number:
    # The relative width is the logarithm's; a bound below zero would have none.
    value = math.log(number.value)
    below = (number.value - number.low) / number.value
    above = (number.high - number.value) / number.value
    return Number(value, value - below, value + above, ())


def _share(arm: Arm, benchmark: str, of: Callable[[Run], Scores], moment: Moment) -> Number | None:
    """The mean of a share of the responses."""
    found = _scores(arm, benchmark, of, moment)
    samples = sum(_samples(arm.done[seed], benchmark, moment) for seed in found)
    return _over(list(found.values()), partial(mean_interval, samples=samples))


def _samples(run: Run, benchmark: str, moment: Moment) -> int:
    step = moment(run, benchmark)
    return 1 if step is None else run.samples(benchmark, step)


def _scores(
    arm: Arm, benchmark: str, of: Callable[[Run], Scores], moment: Moment
) -> dict[int, dict[str, float]]:
    """Each seed's figure of every question, at its moment."""
    found = {}
    for seed, run in arm.done.items():
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
    mean, low, high = over_seeds(rows, over)
    return Number(mean, low, high, tuple(sum(row) / len(row) for row in rows))
