"""Cascading alignment: does the KL fall past N, where no loss was taken?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from esr_cli.base.statistics import interval, resampled_sums, summed_by
from esr_cli.probe.analyses.profile import by_position
from esr_cli.probe.analyses.reads import Read, Rows, padded, questions, row

# Past the position that so many of the responses reach on both sides, means are of few.
REACHED = 0.1


def rows(
    before: Sequence[Read], after: Sequence[Read], trained: tuple[int, int] | None, why: str = ""
) -> Rows:
    """KL by position before and after training, and by how much it fell at the positions that were
    trained, from `trained[0]` (0-based) to before `trained[1]`, and past them. Intervals over
    questions, those of both sides being the same.

    Without `trained` there is no drop, and `why` says the reason.
    """
    longest = max(len(read.kl) for read in [*before, *after])
    asked = questions(before), questions(after)
    tables = padded(before, "kl", longest), padded(after, "kl", longest)
    found: Rows = []
    for who, table_NL, of in zip(("before", "after"), tables, asked, strict=True):
        found += by_position("reverse_kl", table_NL, of, who)
        count_L = np.isfinite(table_NL).sum(0).tolist()
        found += [row("count", count, who=who, at=at) for at, count in enumerate(count_L, 1)]
    if trained is None:
        return [*found, row("drop", None, why=why)]
    sums = [_sums(table_NL, of) for table_NL, of in zip(tables, asked, strict=True)]
    start, stop = trained
    end = min(_reached(table_NL) for table_NL in tables)
    regions = [("trained", start, min(stop, end)), ("untrained", stop, end)]
    if start > 0:
        regions = [("earlier", 0, min(start, end)), *regions]
    return found + [_drop(sums, *region) for region in regions]


def _reached(table_NL: np.ndarray) -> int:
    enough = np.isfinite(table_NL).sum(0) >= max(1, REACHED * len(table_NL))
    return int(np.flatnonzero(enough)[-1]) + 1 if enough.any() else 0


def _sums(table_NL: np.ndarray, asked: Sequence[str]) -> np.ndarray:
    """For each question the KL at each position over its responses, and how many have one there."""
    known_NL = np.isfinite(table_NL)
    return summed_by(asked, np.stack([np.where(known_NL, table_NL, 0.0), known_NL], axis=-1))


def _drop(sums: Sequence[np.ndarray], region: str, start: int, stop: int) -> dict[str, Any]:
    """1 less the mean KL after over that before, positions `start` to before `stop`.

    Both weigh positions as the responses before training do, so that responses which have only
    become longer or shorter show no drop.
    """
    told = {"region": region, "from": start + 1, "to": stop}
    if start >= stop:
        why = f"too few responses {'pass N' if region == 'untrained' else 'reach them'}"
        return row("drop", None, **told, before=None, after=None, why=why)
    parts = [sums_QL2[:, start:stop] for sums_QL2 in sums]
    before, after = _means(*(part_QL2.sum(0) for part_QL2 in parts))
    drawn_before_S, drawn_after_S = _means(*map(resampled_sums, parts))
    # Where two models agree wholly there is nothing to fall.
    with np.errstate(divide="ignore", invalid="ignore"):
        found = interval(float(1 - after / before), 1 - drawn_after_S / drawn_before_S)
    plain = {"before": row("", float(before))["value"], "after": row("", float(after))["value"]}
    counts = {
        f"tokens_{who}": int(part_QL2[..., 1].sum())
        for who, part_QL2 in zip(("before", "after"), parts, strict=True)
    }
    return row("drop", found, **told, **plain, **counts, n=len(parts[0]))


def _means(before_XL2: np.ndarray, after_XL2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean KL on both sides, from sums and counts, over the positions that both have."""
    both_XL = (before_XL2[..., 1] > 0) & (after_XL2[..., 1] > 0)
    weight_XL = before_XL2[..., 1] * both_XL
    # Some draws may hold no response that is so long.
    with np.errstate(divide="ignore", invalid="ignore"):
        before_X, after_X = (
            np.where(both_XL, weight_XL * side[..., 0] / side[..., 1], 0.0).sum(-1)
            / weight_XL.sum(-1)
            for side in (before_XL2, after_XL2)
        )
    return before_X, after_X


def headline(found: Rows) -> str:
    """The drop at trained positions and past them, in a line."""
    told = []
    for each in found:
        if each["figure"] != "drop":
            continue
        if each["value"] is not None:
            where = f"{each['region']} positions {each['from']}-{each['to']}"
            told.append(f"KL at {where} fell by {each['value']:.0%} "
                        f"[{each['low']:.0%}, {each['high']:.0%}]")  # fmt: skip
        elif "region" in each:
            told.append(f"no {each['region']} positions: {each.get('why', 'the KL was 0')}")
        else:
            told.append(f"no drop: {each['why']}")
    return "; ".join(told)
