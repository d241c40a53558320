"""Computes the metrics of a benchmark from graded responses, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from esr_cli.base import statistics
from esr_cli.types import Grade, Grader

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Response:
    """One response; `tokens` and `finish` (`stop`, `length`, `other`) are None if unknown."""

    text: str
    tokens: int | None = None
    finish: str | None = None
    repeats: bool = False


@dataclass(frozen=True)
class Graded:
    """The responses to one question with their verdicts."""

    id: str
    responses: tuple[Response, ...]
    grades: tuple[Grade, ...]

    @property
    def score(self) -> float:
        """The share of correct responses."""
        return sum(grade.correct for grade in self.grades) / len(self.grades)

    @property
    def judged(self) -> bool:
        """Whether the question can be judged; if not, no figure includes it."""
        return all(grade.judged for grade in self.grades)


def grade_all(grader: Grader, asked: Sequence[tuple[str, Any, Sequence[Response]]]) -> list[Graded]:
    """Grades (question id, reference, responses) for every question in one batch."""
    pairs = [(r.text, reference) for _, reference, responses in asked for r in responses]
    grades = iter(grader.grade(pairs))
    return [
        Graded(name, tuple(responses), tuple(next(grades) for _ in responses))
        for name, _, responses in asked
    ]


def figures(
    graded: Sequence[Graded], grader: Grader, pass_at: Sequence[int]
) -> list[dict[str, Any]]:
    """Returns rows of `metric, value, low, high, n`, over the questions that were judged; none if
    there is no such question.

    The order is avg@k, pass@k, maj@k, further verdicts, then the form of the responses (repetition,
    finish reason, length). Every question must have the same number of responses.
    """
    graded = [each for each in graded if each.judged]
    if not graded:
        return []
    k = len(graded[0].grades)
    assert all(len(each.grades) == k for each in graded)
    intervals = {f"avg@{k}": statistics.mean_interval([each.score for each in graded], k)}
    for at in pass_at:
        intervals[f"pass@{at}"] = _pass(graded, at)
    if k > 1 and any(grade.answer is not None for each in graded for grade in each.grades):
        intervals[f"maj@{k}"] = statistics.mean_bootstrap(_majorities(graded, grader))
    for name in sorted({name for each in graded for grade in each.grades for name in grade.also}):
        share = partial(_verdict_share, name=name)
        label = name if name == "boxed" else f"{name}@{k}"
        intervals[label] = statistics.mean_interval([share(each) for each in graded], k)
    intervals |= _response_form(graded)
    return [
        {"metric": name, "value": value, "low": low, "high": high, "n": len(graded)}
        for name, (value, low, high) in intervals.items()
    ]


def _pass(graded: Sequence[Graded], at: int) -> statistics.Interval:
    values = [
        statistics.pass_at(at, len(each.grades), sum(grade.correct for grade in each.grades))
        for each in graded
    ]
    # The number of independent groups of `at` responses.
    samples = len(graded[0].grades) // at
    method = statistics.mean_interval if at == 1 else statistics.mean_bootstrap
    return method(values, samples)


def _majorities(graded: Sequence[Graded], grader: Grader) -> list[float]:
    answer_pairs = list({pair for each in graded for pair in _answer_pairs(each)})
    same = {
        pair for pair, equal in zip(answer_pairs, grader.equal(answer_pairs), strict=True) if equal
    }

    def one_vote(first: str, other: str) -> bool:
        return first == other or (first, other) in same

    values = []
    for each in graded:
        votes = statistics.ballots([grade.answer for grade in each.grades], one_vote)
        values.append(statistics.majority(votes, [grade.correct for grade in each.grades]))
    return values


def _answer_pairs(each: Graded) -> list[tuple[str, str]]:
    answers = dict.fromkeys(grade.answer for grade in each.grades if grade.answer is not None)
    return list(combinations(answers, 2))


def _verdict_share(each: Graded, name: str) -> float:
    return sum(grade.verdict(name) for grade in each.grades) / len(each.grades)


def _response_form(graded: Sequence[Graded]) -> dict[str, statistics.Interval]:
    """Returns the shares of repeating, ended and truncated responses, and length quantiles."""

    def share(holds: Callable[[Response], bool]) -> statistics.Interval:
        shares = [sum(map(holds, each.responses)) / len(each.responses) for each in graded]
        return statistics.mean_interval(shares, len(graded[0].responses))

    every = [response for each in graded for response in each.responses]
    intervals = {"repeats": share(lambda r: r.repeats)}
    if all(response.finish is not None for response in every):
        intervals["ended"] = share(lambda r: r.finish == "stop")
        intervals["truncated"] = share(lambda r: r.finish == "length")
    counted = all(response.tokens is not None for response in every)
    unit = "tokens" if counted else "characters"
    lengths = [[r.tokens if counted else len(r.text) for r in each.responses] for each in graded]
    intervals[f"length_{unit}/mean"] = statistics.bootstrap(
        lengths, lambda rows: rows.mean((-2, -1))
    )
    for q in QUANTILES:
        intervals[f"length_{unit}/p{round(100 * q)}"] = statistics.bootstrap(lengths, _quantile(q))
    return intervals


def _quantile(q: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: np.asarray(np.quantile(rows, q, axis=(-2, -1)))
