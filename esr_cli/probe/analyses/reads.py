"""Figures of both models at every token of a response: the input of the analyses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esr_cli.base.statistics import Interval

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Read:
    """One response, with one value per token in each figure.

    `question` is the question's id. KL (reverse) and entropies are in nats. `top1_prob` is the
    student's highest probability, `teacher_rank` the teacher's rank of that token (1: its most
    likely token). Figures that need the teacher are NaN at tokens that are not aligned.
    """

    question: str
    tokens: tuple[str, ...]
    kl: np.ndarray
    student_entropy: np.ndarray
    teacher_entropy: np.ndarray
    top1_prob: np.ndarray
    teacher_rank: np.ndarray


def padded(reads: Sequence[Read], name: str, length: int = 0) -> np.ndarray:
    """One figure as an array, responses x positions, padded with NaN.

    The number of positions is that of the longest response, or `length` if greater.
    """
    longest = max(length, *(len(read.kl) for read in reads))
    table = np.full((len(reads), longest), np.nan)
    for row, read in zip(table, reads, strict=True):
        row[: len(read.kl)] = getattr(read, name)
    return table


def questions(reads: Sequence[Read]) -> list[str]:
    """The question of each response, the unit that intervals resample."""
    return [read.question for read in reads]


def row(figure: str, result: Interval | float | None, **fields: Any) -> dict[str, Any]:
    """A row of a probe's file, with its interval if there is one; non-finite values are null."""
    values = result if isinstance(result, tuple) else (result,)
    named = zip(("value", "low", "high"), values, strict=False)
    return {"figure": figure} | fields | {key: _plain(value) for key, value in named}


def _plain(value: float | None) -> float | None:
    if value is None or not np.isfinite(value):
        return None
    return round(float(value), 6)
