"""The sides of a comparison: graded evaluations of one run, or of the runs of a sweep."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.base.seeds import keys_of_all, mean_by_key
from esr_cli.base.words import counted
from esr_cli.config import ConfigError
from esr_cli.config.errors import need_folder
from esr_cli.runs import lines, record
from esr_cli.runs.settings import differing, flat, of_condition, unit_of

# The metrics of tokens sampled and of seconds.
COSTS = ("rollout/tokens", "time/step_s")


@dataclass(frozen=True)
class Scores:
    """One evaluation: its step, the accuracy on each question by id, its settings hash, and the
    number of responses to a question.
    """

    step: int
    by_id: dict[str, float]
    settings: str
    samples: int = 1


@dataclass(frozen=True)
class Side:
    """One side. `by_seed` has the evaluations of each run by benchmark name; a single run or
    evaluation has one entry. Of a population it has those of each student, the mean of its runs,
    and the `unit` is student. `trained` is whether it is a run or a sweep of `esr train`.

    `settings` has those of each run, and `tokens` and `seconds` what its training cost.
    """

    by_seed: dict[int | str, dict[str, Scores]]
    trained: bool
    sweep: bool
    ignored: int = 0
    unit: str = "seed"
    settings: tuple[dict[str, Any], ...] = ()
    tokens: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()

    @property
    def single(self) -> dict[str, Scores]:
        """The evaluations of the first run."""
        return next(iter(self.by_seed.values()))

    @property
    def benchmarks(self) -> list[str]:
        """The benchmarks that every run has."""
        return keys_of_all(list(self.by_seed.values()))


def read_side(key: str, folder: str, step: int | None) -> Side:
    """A run, an evaluation, or a folder of runs that differ in nothing but the seed and, in a
    population, the student.

    Raises `ConfigError` if it holds no evaluation, or if its runs differ in more.
    """
    place = Path(folder)
    trained = (place / "metrics.jsonl").is_file()
    runs = [] if trained or (place / "eval.jsonl").is_file() else record.places(place)
    if not runs:
        own = record.settings_at(place / "config.yaml") if trained else {}
        costs = [_sums([place] if trained else [], name, step) for name in COSTS]
        return Side({0: load(key, folder, step)}, trained, False, 0, "seed", (own,), *costs)
    complete = [run for run in runs if (run / "summary.json").is_file()]
    if not complete:
        raise ConfigError(f"{key}={folder}: none of its {len(runs)} runs is complete; resume them")
    settings = [record.settings_at(run / "config.yaml") for run in complete]
    _need_alike(key, folder, settings)
    units = [unit_of(each) for each in settings]
    seeds = [(unit, int(each.get("seed", 0))) for unit, each in zip(units, settings, strict=True)]
    if twice := [seed for (_, seed), count in Counter(seeds).items() if count > 1]:
        raise ConfigError(f"{key}={folder}: holds seed {twice[0]} more than once; name a folder "
                          "with one run per seed")  # fmt: skip
    loaded = [load(key, str(run), step) for run in complete]
    _need_one_evaluation(key, folder, loaded)
    found: dict[int | str, list[dict[str, Scores]]] = {}
    for (unit, _), each in sorted(zip(seeds, loaded, strict=True), key=lambda pair: pair[0]):
        found.setdefault(unit, []).append(each)
    by_unit = {unit: _mean(each) for unit, each in found.items()}
    unit = "student" if isinstance(units[0], str) else "seed"
    costs = [_sums(complete, name, step) for name in COSTS]
    left = len(runs) - len(complete)
    return Side(by_unit, True, True, left, unit, tuple(settings), *costs)


def _sums(runs: list[Path], name: str, until: int | None) -> tuple[float, ...]:
    """The sum of a metric over the steps, up to `until` if given, of each run that has it."""
    last = math.inf if until is None else until
    found = []
    for run in runs:
        rows = lines.read(run / "metrics.jsonl", lines.METRICS)
        column = [row[name] for row in rows if row.get(name) is not None and _step(row) <= last]
        found += [sum(column)] if column else []
    return tuple(found)


def _step(row: dict[str, Any]) -> float:
    return row.get("step") or 0


def load(key: str, folder: str, step: int | None) -> dict[str, Scores]:
    """The last evaluation of each benchmark, or that at `step`, by benchmark name.

    `folder` is a run or an evaluation. Raises `ConfigError` if it holds no evaluation.
    """
    need_folder(key, folder, "name a run, or a folder of runs that differ in the seed")
    folders = [Path(folder), *sorted(Path(folder).glob("eval/*"))]
    evaluations: dict[str, Scores] = {}
    for each in folders:
        settings = {
            record.key_of(row): str(row.get("settings", ""))
            for row in record.rows_in(each, "eval.jsonl", ("benchmark", "step"))
        }
        by_key: dict[tuple[str, int], Rows] = {}
        for row in record.rows_in(each, "generations.jsonl"):
            by_key.setdefault(record.key_of(row), []).append(row)
        for (name, at), rows in by_key.items():
            newer = name not in evaluations or at >= evaluations[name].step
            if (at == step or step is None) and newer and (name, at) in settings:
                # Questions that could not be judged have no verdicts.
                judged = [row for row in rows if row.get("correct")]
                scores = {row["id"]: record.share_right(row) for row in judged}
                samples = max((len(row["correct"]) for row in judged), default=1)
                evaluations[name] = Scores(at, scores, settings[name, at], samples)
    if not evaluations:
        at_step = "" if step is None else f" at step {step}"
        raise ConfigError(f"{key}={folder}: holds no evaluation{at_step}; run esr eval first")
    return evaluations


def _mean(runs: list[dict[str, Scores]]) -> dict[str, Scores]:
    """The mean of several evaluations, on the questions that all have."""
    return {
        name: replace(runs[0][name], by_id=mean_by_key([each[name].by_id for each in runs]))
        for name in keys_of_all(runs)
    }


def _need_alike(key: str, folder: str, settings: list[dict[str, Any]]) -> None:
    first, *others = (flat(of_condition(each)) for each in settings)
    for other in others:
        if names := differing(first, other):
            name, more = names[0], counted(len(names) - 1, "more setting")
            also = f" and in {more}" if len(names) > 1 else ""
            raise ConfigError(
                f"{key}={folder}: its runs differ in {name} ({first.get(name)} and "
                f"{other.get(name)}){also}; name a folder whose runs differ in the seed alone"
            )


def _need_one_evaluation(key: str, folder: str, runs: list[dict[str, Scores]]) -> None:
    for name in keys_of_all(runs):
        found = [each[name] for each in runs]
        steps = sorted({each.step for each in found})
        if len(steps) > 1:
            raise ConfigError(
                f"{key}={folder}: the last evaluations of {name} are at steps {steps[0]} and "
                f"{steps[-1]}; choose one with {'step' if key == 'runs' else f'{key}_step'}="
            )
        if len({each.settings for each in found}) > 1:
            raise ConfigError(
                f"{key}={folder}: its runs were evaluated on {name} with different wording, "
                "sampling or budget; evaluate them alike"
            )
