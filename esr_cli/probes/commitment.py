"""Sub-mode commitment: how long responses are, and how sure a student is of what its teacher
would not say, at the positions where the two differ most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from esr_cli.probes.reads import Read, Rows, padded, questions, row
from esr_cli.statistics import bootstrap, interval, resampled_sums, summed_by

QUANTILES = {"length_p10": 0.1, "length_p50": 0.5, "length_p90": 0.9}
# Ranks of the student's first choice at the teacher.
RANKS = {"is_teacher_top1": (1, 1), "in_teacher_top2_5": (2, 5), "outside_teacher_top5": (6, None)}


def rows(
    reads: Mapping[str, Sequence[Read]],
    lengths: Mapping[str, Sequence[Sequence[int]]],
    share: float,
) -> Rows:
    """`lengths` in tokens, questions x samples, by who wrote the responses; `share` of the
    positions, those with the highest KL of a student's own responses, are looked at. Intervals over
    questions.
    """
    found: Rows = []
    for who, own in lengths.items():
        told = {"who": who, "n": int(np.size(own))}
        found.append(row("length_mean", bootstrap(own, lambda rows: rows.mean((-2, -1))), **told))
        for figure, q in QUANTILES.items():
            found.append(row(figure, bootstrap(own, _quantile(q)), **told))
    for who, own_reads in reads.items():
        found += _where_they_differ(own_reads, who, share)
    return found


def _quantile(q: float) -> Callable[[np.ndarray], np.ndarray]:
    # A quantile that does not move where every response is counted several times.
    method: Any = "averaged_inverted_cdf"
    return lambda rows: np.asarray(np.quantile(rows, q, axis=(-2, -1), method=method))


def _where_they_differ(reads: Sequence[Read], who: str, share: float) -> Rows:
    kl_NL, prob_NL = padded(reads, "kl"), padded(reads, "top1_prob")
    rank_NL = padded(reads, "teacher_rank")
    usable_NL = np.isfinite(kl_NL)
    highest_NL = highest(kl_NL, share)
    asked = questions(reads)
    found = [_mean("top1_prob", prob_NL, highest_NL, asked, who)]
    for figure, (first, last) in RANKS.items():
        inside_NL = (rank_NL >= first) & (rank_NL <= (np.inf if last is None else last))
        found.append(_mean(figure, inside_NL.astype(float), highest_NL, asked, who))
    return [*found, _mean("top1_prob_everywhere", prob_NL, usable_NL, asked, who)]


def highest(kl_NL: np.ndarray, share: float) -> np.ndarray:
    """Marks `share` of all positions of all responses (one at least), those of the highest KL."""
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
    drawn_S2 = resampled_sums(sums_Q2)
    # A draw may hold none of the few questions that have such positions.
    with np.errstate(divide="ignore", invalid="ignore"):
        draws_S = drawn_S2[:, 0] / drawn_S2[:, 1]
    return row(figure, interval(float(total / count), draws_S), who=who, n=int(count))


def headline(found: Rows) -> str:
    """How often the student's choice is the teacher's where they differ most, in a line."""
    told = []
    for who in ("before", "after"):
        own = {each["figure"]: each["value"] for each in found if each.get("who") == who}
        if own:
            told.append(
                f"{who}: median length {own['length_p50']:.0f}, first choice is the teacher's in "
                f"{own['is_teacher_top1']:.0%} of the positions of highest KL"
            )
    return "; ".join(told)
