"""Whether an accuracy declines over all its points, not only from the first to the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import NormalDist

import numpy as np

from esr_cli.base.statistics import mean_difference, paired
from esr_cli.probe.analyses.reads import Rows, row


def rows(scores: Mapping[int, Sequence[float]]) -> Rows:
    """The trend and the steepest rise of an accuracy; `scores[k]` has one share per question.

    `trend` is the fall from the first to the last point of the line fitted to the accuracies over
    the rank of k, since the k are uneven. Each `step` is the fall between neighbouring k, and
    `steepest_rise` repeats the one that is most surely a rise, with its sign changed. Their
    intervals hold together at 95 % (Bonferroni): one of many steps rises easily by chance.
    """
    ks = sorted(scores)
    rank_K = np.arange(len(ks)) - (len(ks) - 1) / 2
    weight_K = -rank_K * (len(ks) - 1) / (rank_K**2).sum()
    fitted_Q = np.array([scores[k] for k in ks]).T @ weight_K
    most = float(weight_K[weight_K > 0].sum())
    n = {"n": len(fitted_Q)}
    trend = mean_difference(fitted_Q.tolist(), most)
    z = NormalDist().inv_cdf(1 - 0.025 / (len(ks) - 1))
    steps = [
        row("step", paired(scores[later], scores[k], z=z), **{"from": k, "at": later}, **n)
        for k, later in pairwise(ks)
    ]
    rise = min(steps, key=lambda step: step["high"])
    interval = paired(scores[rise["from"]], scores[rise["at"]], z=z)
    return [
        row("trend", trend, **{"from": ks[0], "to": ks[-1]}, **n), *steps,
        row("steepest_rise", interval, **{"from": rise["from"], "to": rise["at"]}, **n),
    ]  # fmt: skip


def words(found: Rows) -> str:
    """Whether the accuracy falls everywhere, in a few words."""
    rise = next(each for each in found if each["figure"] == "steepest_rise")
    if rise["low"] <= 0:
        return "it rises nowhere beyond chance"
    return (
        f"but it rises by {rise['value']:.3f} [{rise['low']:.3f}, {rise['high']:.3f}] from "
        f"k={rise['from']} to {rise['to']}"
    )
