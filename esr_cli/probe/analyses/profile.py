"""Reverse KL and entropies by response position, and the rollout length N that they suggest.

arXiv 2605.27028 scans about a thousand full rollouts and takes the N within which 45 % of the whole
KL lies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from esr_cli.base.statistics import Z_95, interval, resampled_sums, summed_by
from esr_cli.probe.analyses.reads import Read, Rows, padded, questions, row

BY_POSITION = {
    "reverse_kl": "kl", "student_entropy": "student_entropy", "teacher_entropy": "teacher_entropy",
}  # fmt: skip


def rows(reads: Sequence[Read], who: str, share: float) -> Rows:
    """Curves by position (from 1), and what they come to; intervals over questions."""
    found: Rows = []
    for figure, name in BY_POSITION.items():
        found += by_position(figure, padded(reads, name), questions(reads), who)
    kl_NL = padded(reads, "kl")
    count_L = np.isfinite(kl_NL).sum(0)
    found += [
        row("count", int(count), who=who, at=at) for at, count in enumerate(count_L.tolist(), 1)
    ]
    return found + _totals(np.nan_to_num(kl_NL), reads, who, share)


def by_position(figure: str, table_NL: np.ndarray, asked: Sequence[str], who: str) -> Rows:
    """The mean at each position over the responses that have one there, with its standard error
    over the questions `asked`, one a response.
    """
    known_NL = np.isfinite(table_NL)
    count_L = known_NL.sum(0)
    mean_L = np.where(known_NL, table_NL, 0.0).sum(0) / np.maximum(count_L, 1)
    # What a question's responses are off by together; those of one question are alike.
    off_QL = summed_by(asked, np.where(known_NL, table_NL - mean_L, 0.0))
    questions_L = (summed_by(asked, known_NL) > 0).sum(0)
    spread_L = questions_L / np.maximum(questions_L - 1, 1) * (off_QL**2).sum(0)
    half_L = Z_95 * np.sqrt(spread_L) / np.maximum(count_L, 1)
    found = []
    for at, (n, mean, half) in enumerate(zip(count_L, mean_L, half_L, strict=True), 1):
        told = {"who": who, "at": at, "n": int(n)}
        if questions_L[at - 1] < 2:
            found.append(row(figure, float(mean) if n else None, **told))
            continue
        # Neither a KL nor an entropy is ever below zero.
        spread = float(mean), max(0.0, float(mean - half)), float(mean + half)
        found.append(row(figure, spread, **told))
    return found


def _totals(kl_NL: np.ndarray, reads: Sequence[Read], who: str, share: float) -> Rows:
    lengths_N = np.array([len(read.kl) for read in reads], dtype=float)
    n = len(reads)
    cumulative_L = np.cumsum(kl_NL.sum(0))
    # Draws of the questions; the last columns are the total length and number of their responses.
    sums = np.column_stack([kl_NL, lengths_N, np.ones(n)])
    drawn = resampled_sums(summed_by(questions(reads), sums))
    drawn_SL, mean_S = np.cumsum(drawn[:, :-2], axis=1), drawn[:, -2] / drawn[:, -1]
    told = {"who": who, "n": n}
    suggested = [_reaches(row_L, share) for row_L in drawn_SL]
    tenths = [_first_tenth(row_L, mean) for row_L, mean in zip(drawn_SL, mean_S, strict=True)]
    mean = float(lengths_N.mean())
    whole = cumulative_L[-1]
    return [
        *(
            row("cumulative_kl", part / whole if whole else None, who=who, at=at)
            for at, part in enumerate(cumulative_L.tolist(), 1)
        ),
        row(
            "suggested_tokens", interval(_reaches(cumulative_L, share), np.array(suggested)),
            **told, share=share,
        ),
        row(
            "kl_in_first_tenth", interval(_first_tenth(cumulative_L, mean), np.array(tenths)),
            **told,
        ),
        row("mean_length", interval(mean, mean_S), **told),
    ]  # fmt: skip


def _reaches(cumulative_L: np.ndarray, share: float) -> float:
    """The first position by which `share` of the total is reached; NaN without any KL."""
    if not cumulative_L[-1]:
        return np.nan
    # A hair of slack: a share that is reached exactly may round to just below.
    return float(np.argmax(cumulative_L >= share * cumulative_L[-1] * (1 - 1e-12))) + 1


def _first_tenth(cumulative_L: np.ndarray, mean_length: float) -> float:
    """The share of the KL in the first tenth of the mean length, rounded up to whole tokens."""
    if not cumulative_L[-1]:
        return np.nan
    return float(cumulative_L[int(np.ceil(mean_length / 10)) - 1] / cumulative_L[-1])


def suggested(found: Rows, who: str = "before") -> int | None:
    """N in tokens; none where the two models do not differ at all."""
    value = one(found, "suggested_tokens", who)["value"]
    return None if value is None else int(value)


def one(found: Rows, figure: str, who: str) -> dict[str, float]:
    """The only row of a figure."""
    [row] = [each for each in found if each["figure"] == figure and each["who"] == who]
    return row


def headline(found: Rows) -> str:
    """The suggested N and how early the KL lies, in a line."""
    n, tenth = one(found, "suggested_tokens", "before"), one(found, "kl_in_first_tenth", "before")
    if n["value"] is None:
        return "student and teacher do not differ: no N follows"
    return (
        f"suggested N={n['value']:.0f} [{n['low']:.0f}, {n['high']:.0f}], where {n['share']:.0%} "
        f"of the KL lies before; {tenth['value']:.0%} in the first tenth of the mean length"
    )
