"""Off-policy teacher decay: the more student text a teacher goes on from, the worse it ends.

The teacher is given the first k tokens of a student's response, and finishes it. At k = 0 that is
its own accuracy; where every response has ended before k, it is the student's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from esr_cli.probes.reads import Rows, row
from esr_cli.statistics import mean_interval, paired

# Sixteenths of the longest response: close where it begins, wide where it ends.
LADDER = (0, 1, 2, 3, 4, 6, 8, 12)


def ladder(longest: int) -> list[int]:
    """The k to measure at, for responses of at most `longest` tokens."""
    return sorted({longest * part // 16 for part in LADDER})


def rows(
    scores: Mapping[int, Sequence[float]], going: Mapping[int, Sequence[bool]],
    student: Sequence[float], teacher: Sequence[float],
) -> Rows:  # fmt: skip
    """`scores[k]` is the share of right responses to each question when the teacher goes on from k
    tokens, `going[k]` whether each response had not ended before; `student` and `teacher` their own
    shares.
    """
    ks = sorted(scores)
    found = [
        row("accuracy", mean_interval(scores[k]), who="continued", at=k, n=len(scores[k]))
        for k in ks
    ]
    found += [
        row("accuracy", mean_interval(own), who=who, n=len(own))
        for who, own in (("student", student), ("teacher", teacher))
    ]
    found += [
        row("continued", sum(going[k]) / len(going[k]), at=k, n=len(going[k])) for k in ks
    ]  # fmt: skip
    fall = paired(scores[ks[-1]], scores[ks[0]])
    return [*found, row("drop", fall, **{"from": ks[0], "to": ks[-1]}, n=len(scores[ks[0]]))]


def headline(found: Rows) -> str:
    """The accuracies at both ends and the drop, in a line."""
    fall = found[-1]
    first, last = (
        next(r["value"] for r in found if r["figure"] == "accuracy" and r.get("at") == fall[end])
        for end in ("from", "to")
    )
    return (
        f"accuracy {first:.3f} from k={fall['from']}, {last:.3f} from k={fall['to']}; "
        f"drop {fall['value']:.3f} [{fall['low']:.3f}, {fall['high']:.3f}]"
    )
