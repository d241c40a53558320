"""Cascading alignment: does the KL also fall after position N, where there was no loss?

After training the student writes other text, on which the KL may be lower although the student
would do no better on the old one. As a control, the trained student therefore also reads the
responses of the student before training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from esr_cli.base.statistics import REACHED, interval, resampled_sums, summed_by
from esr_cli.probe.analyses.profile import by_position
from esr_cli.probe.analyses.reads import Read, Rows, padded, questions, row

# Each drop is that from the KL before training to that of these reads.
DROPS = {"drop": "after", "drop_same_text": "same_text"}


def rows(
    before: Sequence[Read], after: Sequence[Read], same_text: Sequence[Read],
    trained: tuple[int, int] | None, why: str = "",
) -> Rows:  # fmt: skip
    """KL by position before and after training, and its drop at trained and untrained positions.

    `before` and `after` are each student's reads of its own responses, `same_text` the trained
    student's of the responses of `before`. Positions `trained[0]` (0-based) to before `trained[1]`
    were trained. All must have the same questions; intervals are over questions. If `trained` is
    None there is no drop, and the row gives the reason `why`.
    """
    reads = {"before": before, "after": after, "same_text": same_text}
    longest = max(len(read.kl) for each in reads.values() for read in each)
    tables = {who: padded(each, "kl", longest) for who, each in reads.items()}
    found: Rows = []
    for who, table_NL in tables.items():
        found += by_position("reverse_kl", table_NL, questions(reads[who]), who)
        count_L = np.isfinite(table_NL).sum(0).tolist()
        found += [row("count", count, who=who, at=at) for at, count in enumerate(count_L, 1)]
    if trained is None:
        return [*found, row("drop", None, why=why)]
    sums = {who: _sums(table_NL, questions(reads[who])) for who, table_NL in tables.items()}
    # The same positions for both, though training may have shortened the responses.
    end = min(map(_reached, tables.values()))
    for figure, who in DROPS.items():
        both = sums["before"], sums[who]
        found += [_drop(figure, both, *region) for region in _regions(trained, end)]
    return found


def _regions(trained: tuple[int, int], end: int) -> list[tuple[str, int, int]]:
    """The regions by name: from the first to before the last position, up to before `end`."""
    start, stop = trained
    regions = [("trained", start, min(stop, end)), ("untrained", stop, end)]
    return [("earlier", 0, min(start, end)), *regions] if start > 0 else regions


def _reached(table_NL: np.ndarray) -> int:
    enough = np.isfinite(table_NL).sum(0) >= max(1, REACHED * len(table_NL))
    return int(np.flatnonzero(enough)[-1]) + 1 if enough.any() else 0


def _sums(table_NL: np.ndarray, asked: Sequence[str]) -> np.ndarray:
    """By question and position: the sum of the KL over responses, and their number."""
    known_NL = np.isfinite(table_NL)
    return summed_by(asked, np.stack([np.where(known_NL, table_NL, 0.0), known_NL], axis=-1))


def _drop(
    figure: str, sums: Sequence[np.ndarray], region: str, start: int, stop: int
) -> dict[str, Any]:
    """1 - (mean KL after) / (mean KL before), over positions `start` to before `stop`.

    Both means weight positions by the responses before training, so a mere change of response
    length shows no drop.
    """
    region_fields = {"region": region, "from": start + 1, "to": stop}
    if start >= stop:
        why = f"too few responses {'pass N' if region == 'untrained' else 'reach them'}"
        return row(figure, None, **region_fields, before=None, after=None, why=why)
    parts = [sums_QL2[:, start:stop] for sums_QL2 in sums]
    before, after = _means(*(part_QL2.sum(0) for part_QL2 in parts))
    before_S, after_S = _means(*map(resampled_sums, parts))
    # If the two models agree fully, the KL is 0 and the ratio undefined.
    with np.errstate(divide="ignore", invalid="ignore"):
        drop = interval(float(1 - after / before), 1 - after_S / before_S)
    means = {"before": row("", float(before))["value"], "after": row("", float(after))["value"]}
    counts = {
        f"tokens_{who}": int(part_QL2[..., 1].sum())
        for who, part_QL2 in zip(("before", "after"), parts, strict=True)
    }
    return row(figure, drop, **region_fields, **means, **counts, n=len(parts[0]))


def _means(before_XL2: np.ndarray, after_XL2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean KL before and after, from sums and counts, over the positions that both have."""
    both_XL = (before_XL2[..., 1] > 0) & (after_XL2[..., 1] > 0)
    weight_XL = before_XL2[..., 1] * both_XL
    # A resample may contain no response of this length.
    with np.errstate(divide="ignore", invalid="ignore"):
        before_X, after_X = (
            np.where(both_XL, weight_XL * side[..., 0] / side[..., 1], 0.0).sum(-1)
            / weight_XL.sum(-1)
            for side in (before_XL2, after_XL2)
        )
    return before_X, after_X


def headline(found: Rows) -> str:
    """The drops at trained and untrained positions, in one line."""
    parts = []
    for each in found:
        if each["figure"] not in DROPS:
            continue
        if each["value"] is not None:
            where = f"{each['region']} positions {each['from']}-{each['to']}"
            where += " of the same text" if each["figure"] == "drop_same_text" else ""
            parts.append(f"KL at {where} fell by {each['value']:.0%} "
                        f"[{each['low']:.0%}, {each['high']:.0%}]")  # fmt: skip
        elif each["figure"] == "drop_same_text":
            continue
        elif "region" in each:
            parts.append(f"no {each['region']} positions: {each.get('why', 'the KL was 0')}")
        else:
            parts.append(f"no drop: {each['why']}")
    return "; ".join(parts)
