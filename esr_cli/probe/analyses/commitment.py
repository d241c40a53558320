"""Sub-mode commitment: response lengths, and the student's confidence where it differs most.

Confidence and agreement with the teacher are measured at the positions of highest KL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from esr_cli.base.statistics import bootstrap, interval, resampled_sums, summed_by
from esr_cli.probe.analyses.reads import Read, Rows, padded, questions, row

Lengths = Mapping[str, Sequence[Sequence[int]]]

QUANTILES = {"length_p10": 0.1, "length_p50": 0.5, "length_p90": 0.9}
# Bins of the teacher's rank of the student's most likely token.
RANKS = {"is_teacher_top1": (1, 1), "in_teacher_top2_5": (2, 5), "outside_teacher_top5": (6, None)}


def rows(
    before: Sequence[Read],
    lengths: Lengths,
    share: float,
    after: tuple[Sequence[Read], Sequence[Read]] | None = None,
) -> Rows:
    """Statistics of lengths, and of the `share` of all positions with the highest KL.

    `lengths` are in tokens, questions x samples, by the model that responded. Intervals are over
    questions. `before` holds the student's reads of its own responses. `after` holds the trained
    student's reads of these responses and of its own. The former are measured at the positions
    selected in `before`. Figures that end in `_own` are measured at the positions of highest KL in
    each student's own responses.
    """
    found: Rows = []
    for who, counts in lengths.items():
        fields = {"who": who, "n": int(np.size(counts))}
        found.append(
            row("length_mean", bootstrap(counts, lambda rows: rows.mean((-2, -1))), **fields)
        )
        for figure, q in QUANTILES.items():
            found.append(row(figure, bootstrap(counts, _quantile(q)), **fields))
    marked_NL = highest(padded(before, "kl"), share)
    found += _at_marked(before, marked_NL, "before")
    if after is None:
        return found
    same, own_reads = after
    found += _at_marked(same, marked_NL, "after")
    found += _at_marked(before, marked_NL, "before", "_own")
    return found + _at_marked(own_reads, highest(padded(own_reads, "kl"), share), "after", "_own")


def _quantile(q: float) -> Callable[[np.ndarray], np.ndarray]:
    # This quantile does not change if every response is duplicated.
    method: Any = "averaged_inverted_cdf"
    return lambda rows: np.asarray(np.quantile(rows, q, axis=(-2, -1), method=method))


def _at_marked(reads: Sequence[Read], marked_NL: np.ndarray, who: str, suffix: str = "") -> Rows:
    """The student's figures at the marked positions, and the lowest KL there."""
    kl_NL, prob_NL = padded(reads, "kl"), padded(reads, "top1_prob")
    rank_NL, asked = padded(reads, "teacher_rank"), questions(reads)
    values = {"top1_prob": prob_NL, "kl_mean": kl_NL}
    for figure, (first, last) in RANKS.items():
        inside_NL = (rank_NL >= first) & (rank_NL <= (np.inf if last is None else last))
        values[figure] = inside_NL.astype(float)
    found = [_mean(f"{name}{suffix}", each, marked_NL, asked, who) for name, each in values.items()]
    found.append(_mean(f"top1_prob_everywhere{suffix}", prob_NL, np.isfinite(kl_NL), asked, who))
    least = float(kl_NL[marked_NL].min())
    return [*found, row(f"kl_least{suffix}", least, who=who, n=int(marked_NL.sum()))]


def highest(kl_NL: np.ndarray, share: float) -> np.ndarray:
    """Marks the `share` of all positions (at least one) with the highest KL."""
    flat = np.where(np.isfinite(kl_NL), kl_NL, -np.inf).ravel()
    count = int(np.isfinite(kl_NL).sum())
    keep = min(count, max(1, round(share * count)))
    chosen = np.zeros(flat.shape, dtype=bool)
    chosen[np.argsort(-flat, kind="stable")[:keep]] = True
    return chosen.reshape(kl_NL.shape)


def _mean(
    figure: str, value_NL: np.ndarray, chosen_NL: np.ndarray, asked: Sequence[str], who: str
) -> dict[str, object]:
    kept_NL = np.where(chosen_NL, value_NL, 0.0)
    sums_Q2 = summed_by(asked, np.stack([kept_NL.sum(1), chosen_NL.sum(1)], axis=1))
    total, count = sums_Q2.sum(0)
    resampled_S2 = resampled_sums(sums_Q2)
    # A resample may contain no question that has such positions.
    with np.errstate(divide="ignore", invalid="ignore"):
        means_S = resampled_S2[:, 0] / resampled_S2[:, 1]
    return row(figure, interval(float(total / count), means_S), who=who, n=int(count))


def headline(found: Rows) -> str:
    """How often the student's top token is the teacher's at the highest KL, in one line."""
    parts = []
    for who, where in (("before", "the positions of highest KL"), ("after", "the same positions")):
        by_name = {each["figure"]: each["value"] for each in found if each.get("who") == who}
        if by_name:
            parts.append(
                f"{who}: median length {by_name['length_p50']:.0f}, first choice is the "
                f"teacher's in {by_name['is_teacher_top1']:.0%} of {where}"
            )
    return "; ".join(parts)
