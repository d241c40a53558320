"""Cascading alignment: does the KL fall past N, where no loss was taken?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from esr_cli.probes.profile import by_position
from esr_cli.probes.reads import Read, Rows, padded, questions, row
from esr_cli.statistics import Interval, interval, resampled_sums, summed_by

# Past the position that so many of the responses reach on both sides, means are of few.
REACHED = 0.1


def rows(before: Sequence[Read], after: Sequence[Read], trained: int) -> Rows:
    """KL by position before and after training on the first `trained` tokens, and by how much it
    fell inside and past them; intervals over questions.
    """
    longest = max(len(read.kl) for read in [*before, *after])
    tables = {
        who: padded(reads, "kl", longest) for who, reads in (("before", before), ("after", after))
    }
    asked = {"before": questions(before), "after": questions(after)}
    found: Rows = []
    for who, table_NL in tables.items():
        found += by_position("reverse_kl", table_NL, asked[who], who)
        count_L = np.isfinite(table_NL).sum(0).tolist()
        found += [row("count", count, who=who, at=at) for at, count in enumerate(count_L, 1)]
    end = min(_reached(table_NL) for table_NL in tables.values())
    regions = (("trained", 0, min(trained, end)), ("untrained", trained, end))
    return found + [_drop(tables, asked, region, start, stop) for region, start, stop in regions]


def _reached(table_NL: np.ndarray) -> int:
    enough = np.isfinite(table_NL).sum(0) >= max(1, REACHED * len(table_NL))
    return int(np.flatnonzero(enough)[-1]) + 1 if enough.any() else 0


def _drop(
    tables: dict[str, np.ndarray], asked: dict[str, list[str]], region: str, start: int, stop: int
) -> dict[str, object]:
    told = {"region": region, "from": start + 1, "to": stop}
    if start >= stop:
        return row("drop", None, **told, before=None, after=None)
    means: dict[str, float] = {}
    drawn: dict[str, np.ndarray] = {}
    for who, table_NL in tables.items():
        part_NL = table_NL[:, start:stop]
        sums_N2 = np.stack([np.nansum(part_NL, 1), np.isfinite(part_NL).sum(1)], axis=1)
        sums_Q2 = summed_by(asked[who], sums_N2)
        total, count = sums_Q2.sum(0)
        means[who] = total / count if count else np.nan
        # Some draws may hold no response that is so long.
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn_S2 = resampled_sums(sums_Q2)
            drawn[who] = drawn_S2[:, 0] / drawn_S2[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 1 - np.divide(means["after"], means["before"])
        found: Interval = interval(float(value), 1 - drawn["after"] / drawn["before"])
    plain = {who: row("", mean)["value"] for who, mean in means.items()}
    return row("drop", found, **told, **plain, n=len(tables["before"]))


def headline(found: Rows) -> str:
    """The drop inside N and past it, in a line."""
    told = []
    for each in found:
        if each["figure"] != "drop":
            continue
        where = f"{each['region']} positions {each['from']}-{each['to']}"
        if each["value"] is None:
            told.append(f"no {each['region']} positions")
        else:
            told.append(f"KL at {where} fell by {each['value']:.0%} "
                        f"[{each['low']:.0%}, {each['high']:.0%}]")  # fmt: skip
    return "; ".join(told)
