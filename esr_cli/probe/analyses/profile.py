"""Reverse KL and entropies by response position, and the rollout length N that they suggest.

arXiv 2605.27028 measures about a thousand full rollouts and chooses the N that covers 45 % of the
total KL. The authors' notes (github.com/JosephZZ/quick-distill) also compare the first 100
positions with the rest, to predict whether ESR wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from esr_cli.base.statistics import GOING, Z_95, bootstrap, interval, resampled_sums, summed_by
from esr_cli.probe.analyses.reads import Read, Rows, padded, questions, row

BY_POSITION = {
    "reverse_kl": "kl", "student_entropy": "student_entropy", "teacher_entropy": "teacher_entropy",
}  # fmt: skip
# The number of first positions in the authors' notes, and their two figures.
FIRST = 100
KNOWN = (
    "in the authors' notes it was 2.8 for a Qwen pair where ESR won, and 1.15 for a Llama pair "
    "where it lost"
)


def rows(reads: Sequence[Read], who: str, share: float, first: int | None = None) -> Rows:
    """Curves by position (1-based) and their summary figures; intervals are over questions.

    `share` is the share of the KL that the suggested N covers. `first` is the number of positions
    that are compared with the rest; None: 100, or the suggested N if fewer than nine tenths of the
    responses are longer than 100.
    """
    found: Rows = []
    for figure, name in BY_POSITION.items():
        found += by_position(figure, padded(reads, name), questions(reads), who)
    kl_NL = padded(reads, "kl")
    count_L = np.isfinite(kl_NL).sum(0)
    found += [
        row("count", int(count), who=who, at=at) for at, count in enumerate(count_L.tolist(), 1)
    ]
    found += _totals(np.nan_to_num(kl_NL), reads, who, share)
    if first is None:
        longer = np.mean([len(read.kl) > FIRST for read in reads])
        first = FIRST if longer >= GOING else suggested(found, who) or FIRST
    return [*found, _front_loading(kl_NL, reads, who, first)]


def by_position(figure: str, table_NL: np.ndarray, asked: Sequence[str], who: str) -> Rows:
    """The mean at each position over the responses with a value there, with its 95 % interval.

    The standard error is clustered by question; `asked` is the question of each response.
    """
    known_NL = np.isfinite(table_NL)
    count_L = known_NL.sum(0)
    mean_L = np.where(known_NL, table_NL, 0.0).sum(0) / np.maximum(count_L, 1)
    # Deviations are summed by question, since the responses to one question are correlated.
    deviation_QL = summed_by(asked, np.where(known_NL, table_NL - mean_L, 0.0))
    questions_L = (summed_by(asked, known_NL) > 0).sum(0)
    spread_L = questions_L / np.maximum(questions_L - 1, 1) * (deviation_QL**2).sum(0)
    half_L = Z_95 * np.sqrt(spread_L) / np.maximum(count_L, 1)
    found = []
    for at, (n, mean, half) in enumerate(zip(count_L, mean_L, half_L, strict=True), 1):
        fields = {"who": who, "at": at, "n": int(n)}
        if questions_L[at - 1] < 2:
            found.append(row(figure, float(mean) if n else None, **fields))
            continue
        # KL and entropy are never negative.
        spread = float(mean), max(0.0, float(mean - half)), float(mean + half)
        found.append(row(figure, spread, **fields))
    return found


def _totals(kl_NL: np.ndarray, reads: Sequence[Read], who: str, share: float) -> Rows:
    lengths_N = np.array([len(read.kl) for read in reads], dtype=float)
    n = len(reads)
    cumulative_L = np.cumsum(kl_NL.sum(0))
    # Questions are resampled; the last two columns are the total length and number of responses.
    sums = np.column_stack([kl_NL, lengths_N, np.ones(n)])
    resampled = resampled_sums(summed_by(questions(reads), sums))
    cumulative_SL, mean_S = (
        np.cumsum(resampled[:, :-2], axis=1),
        resampled[:, -2] / resampled[:, -1],
    )
    fields = {"who": who, "n": n}
    suggested_S = [_reaches(row_L, share) for row_L in cumulative_SL]
    tenths_S = [
        _first_tenth(row_L, mean) for row_L, mean in zip(cumulative_SL, mean_S, strict=True)
    ]
    mean = float(lengths_N.mean())
    total = cumulative_L[-1]
    return [
        *(
            row("cumulative_kl", part / total if total else None, who=who, at=at)
            for at, part in enumerate(cumulative_L.tolist(), 1)
        ),
        row(
            "suggested_tokens", interval(_reaches(cumulative_L, share), np.array(suggested_S)),
            **fields, share=share,
        ),
        row(
            "kl_in_first_tenth", interval(_first_tenth(cumulative_L, mean), np.array(tenths_S)),
            **fields,
        ),
        row("mean_length", interval(mean, mean_S), **fields),
    ]  # fmt: skip


def _front_loading(kl_NL: np.ndarray, reads: Sequence[Read], who: str, first: int) -> dict:
    """The mean KL of a token among the `first` positions, divided by that of a later token.

    Positions past the end of a response do not count.
    """
    known_NL = np.isfinite(kl_NL)
    parts = (slice(first), slice(first, None))
    sums_N4 = np.column_stack(
        [table_NL[:, part].sum(1) for table_NL in (np.where(known_NL, kl_NL, 0.0), known_NL)
         for part in parts]
    )  # fmt: skip
    sums_Q4 = summed_by(questions(reads), sums_N4)
    resampled_S4 = resampled_sums(sums_Q4)
    ratio = interval(float(_ratio(sums_Q4.sum(0))), _ratio(resampled_S4))
    return row("front_loading", ratio, who=who, n=len(reads), first=first)


def _ratio(sums_X4: np.ndarray) -> np.ndarray:
    early_X, late_X, early_count_X, late_count_X = np.moveaxis(sums_X4, -1, 0)
    # Without a later token, or a KL there, the ratio is undefined.
    with np.errstate(divide="ignore", invalid="ignore"):
        return (early_X / early_count_X) / (late_X / late_count_X)


def _reaches(cumulative_L: np.ndarray, share: float) -> float:
    """The first position at which `share` of the total is reached; NaN if there is no KL."""
    if not cumulative_L[-1]:
        return np.nan
    # The slack allows for rounding if the share is reached exactly.
    return float(np.argmax(cumulative_L >= share * cumulative_L[-1] * (1 - 1e-12))) + 1


def _first_tenth(cumulative_L: np.ndarray, mean_length: float) -> float:
    """The share of the KL in the first tenth of the mean length, rounded up to whole tokens."""
    if not cumulative_L[-1]:
        return np.nan
    return float(cumulative_L[int(np.ceil(mean_length / 10)) - 1] / cumulative_L[-1])


def suggested(found: Rows, who: str = "before") -> int | None:
    """The suggested N in tokens; None if the two models do not differ at all."""
    value = one(found, "suggested_tokens", who)["value"]
    return None if value is None else int(value)


def length_of_teacher(lengths: Sequence[int]) -> dict[str, Any]:
    """The median length of the teacher's own responses, in the student's tokens."""
    median = bootstrap(lengths, lambda array: np.median(array, axis=-1))
    return row("median_length", median, who="teacher", n=len(lengths))


def teacher_length(found: Rows) -> int | None:
    """The median length of the teacher's own responses in tokens; None if it was not measured."""
    there = [each for each in found if each["figure"] == "median_length"]
    return round(there[0]["value"]) if there else None


def one(found: Rows, figure: str, who: str) -> dict[str, float]:
    """The only row of a figure."""
    [row] = [each for each in found if each["figure"] == figure and each["who"] == who]
    return row


def headline(found: Rows) -> str:
    """The suggested N, the share of the KL in the first tenth, and how front-loaded the KL is."""
    n, tenth = one(found, "suggested_tokens", "before"), one(found, "kl_in_first_tenth", "before")
    if n["value"] is None:
        return "student and teacher do not differ: no N follows"
    text = (
        f"suggested N={n['value']:.0f} [{n['low']:.0f}, {n['high']:.0f}], where {n['share']:.0%} "
        f"of the KL lies before; {tenth['value']:.0%} in the first tenth of the mean length"
    )
    if length := teacher_length(found):
        text += f"; the median of the teacher's own responses is {length}"
    ratio = one(found, "front_loading", "before")
    if ratio["value"] is None:
        return text
    text += (
        f"; the mean KL of the first {ratio['first']} positions is {ratio['value']:.2f} "
        f"[{ratio['low']:.2f}, {ratio['high']:.2f}] times that of the rest"
    )
    return f"{text} ({KNOWN})" if ratio["first"] == FIRST else text
