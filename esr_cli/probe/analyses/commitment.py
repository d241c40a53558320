"""Sub-mode commitment: how long responses are, and how sure a student is of what its teacher
would not say, at the positions where the two differ most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from esr_cli.base.statistics import bootstrap, interval, resampled_sums, summed_by
from esr_cli.probe.analyses.reads import Read, Rows, padded, questions, row

Lengths = Mapping[str, Sequence[Sequence[int]]]

QUANTILES = {"length_p10": 0.1, "length_p50": 0.5, "length_p90": 0.9}
# Ranks of the student's first choice at the teacher.
RANKS = {"is_teacher_top1": (1, 1), "in_teacher_top2_5": (2, 5), "outside_teacher_top5": (6, None)}


def rows(
    before: Sequence[Read],
    lengths: Lengths,
    share: float,
    after: tuple[Sequence[Read], Sequence[Read]] | None = None,
) -> Rows:
    """`lengths` in tokens, questions x samples, by who wrote the responses. `share` of all
    positions are looked at, those of the highest KL. Intervals over questions.

    `before` reads its own responses. `after` is how the trained student reads these, and its own:
    the first is told at the very positions of `before`, the second, in figures that end in `_own`,
    at those where its own KL is highest, as it is for `before` there too.
    """
    found: Rows = []
    for who, own in lengths.items():
        told = {"who": who, "n": int(np.size(own))}
        found.append(row("length_mean", bootstrap(own, lambda rows: rows.mean((-2, -1))), **told))
        for figure, q in QUANTILES.items():
            found.append(row(figure, bootstrap(own, _quantile(q)), **told))
    marked_NL = highest(padded(before, "kl"), share)
    found += _there(before, marked_NL, "before")
    if after is None:
        return found
    same, own_reads = after
    found += _there(same, marked_NL, "after")
    found += _there(before, marked_NL, "before", "_own")
    return found + _there(own_reads, highest(padded(own_reads, "kl"), share), "after", "_own")


def _quantile(q: float) -> Callable[[np.ndarray], np.ndarray]:
    # A quantile that does not move where every response is counted several times.
    method: Any = "averaged_inverted_cdf"
    return lambda rows: np.asarray(np.quantile(rows, q, axis=(-2, -1), method=method))


def _there(reads: Sequence[Read], marked_NL: np.ndarray, who: str, suffix: str = "") -> Rows:
    """What a student says at the marked positions, and how high the KL is there at least."""
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
    for who, where in (("before", "the positions of highest KL"), ("after", "the same positions")):
        own = {each["figure"]: each["value"] for each in found if each.get("who") == who}
        if own:
            told.append(
                f"{who}: median length {own['length_p50']:.0f}, first choice is the teacher's in "
                f"{own['is_teacher_top1']:.0%} of {where}"
            )
    return "; ".join(told)
