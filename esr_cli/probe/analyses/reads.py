"""What both models say at every token of a response; where each analysis begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esr_cli.base.statistics import Interval

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Read:
    """One response to a question (its id), a value a token: its text, the reverse KL and both
    entropies in nats, the student's highest probability and the rank of that token at the teacher
    (1: its own choice).

    NaN, in all but the student's own figures, where the teacher has no place for the token.
    """

    question: str
    tokens: tuple[str, ...]
    kl: np.ndarray
    student_entropy: np.ndarray
    teacher_entropy: np.ndarray
    top1_prob: np.ndarray
    teacher_rank: np.ndarray


def padded(reads: Sequence[Read], name: str, length: int = 0) -> np.ndarray:
    """One figure as an array of responses x positions, NaN behind a response's end.

    As long as the longest response, or `length` if that is more.
    """
    longest = max(length, *(len(read.kl) for read in reads))
    table = np.full((len(reads), longest), np.nan)
    for row, read in zip(table, reads, strict=True):
        row[: len(read.kl)] = getattr(read, name)
    return table


def questions(reads: Sequence[Read]) -> list[str]:
    """The question of each response: what intervals resample."""
    return [read.question for read in reads]


def row(figure: str, found: Interval | float | None, **told: Any) -> dict[str, Any]:
    """A row of a probe's file, with its interval where there is one; what is not finite is null."""
    values = found if isinstance(found, tuple) else (found,)
    named = zip(("value", "low", "high"), values, strict=False)
    return {"figure": figure} | told | {key: _plain(value) for key, value in named}


def _plain(value: float | None) -> float | None:
    if value is None or not np.isfinite(value):
        return None
    return round(float(value), 6)
