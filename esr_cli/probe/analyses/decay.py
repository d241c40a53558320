"""Off-policy teacher decay: the more student text a teacher goes on from, the worse it ends.

The teacher is given the first k tokens of a student's response, and finishes it. At k = 0 that is
its own accuracy; where every response has ended before k, it is the student's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from esr_cli.base.statistics import mean_interval, paired
from esr_cli.probe.analyses.reads import Rows, row

# Up to the k that so many of the responses pass, what is graded is the teacher's work.
GOING = 0.9
# Eighths of that k, which leave the teacher something to write; and quarters of the way from there
# to the end of the longest response.
NEAR, FAR = (0, 1, 2, 3, 4, 6), (1, 2, 3)

Verdicts = Sequence[Sequence[bool]]


def ladder(lengths: Sequence[int]) -> list[int]:
    """The k to measure at, in tokens, for responses of these `lengths`."""
    longest = max(lengths)
    # Rounded: a tenth of twenty is a hair less than two.
    may_end = int(round((1 - GOING) * len(lengths), 6))
    passed = sorted(lengths)[may_end] - 1
    far = [passed + (longest - passed) * part // 4 for part in FAR]
    return sorted({*(passed * part // 8 for part in NEAR), *far})


def rows(
    right: Mapping[int, Verdicts], going: Mapping[int, Verdicts], student: Verdicts,
    teacher: Verdicts,
) -> Rows:  # fmt: skip
    """All in questions x samples: `right[k]` whether the response is right with which the teacher
    went on from k tokens, `going[k]` whether the student's had not ended before; `student` and
    `teacher` whether their own are.
    """
    ks = sorted(right)
    found = [_accuracy(right[k], who="continued", at=k) for k in ks]
    found += [_accuracy(student, who="student"), _accuracy(teacher, who="teacher")]
    for k in ks:
        found += _among_going(k, right[k], going[k], student, teacher)
    shares = {k: float(np.mean(going[k])) for k in ks}
    far = max((k for k in ks if k > 0 and shares[k] >= GOING), default=0)
    if far == 0 or 0 not in right:
        return found
    fall = paired(_scores(right[far]), _scores(right[0]))
    told = {"from": 0, "to": far, "share_going": round(shares[far], 6)}
    return [*found, row("drop", fall, **told, n=len(right[0]))]


def _among_going(
    k: int, right: Verdicts, going: Verdicts, student: Verdicts, teacher: Verdicts
) -> Rows:
    """How many go on, and how those end: with the teacher, and as the student did; beside them the
    teacher's own responses to the same questions.
    """
    going_QS = np.asarray(going, dtype=bool)
    asked = np.flatnonzero(going_QS.any(1)).tolist()
    found = [row("share_going", float(going_QS.mean()), at=k, n=going_QS.size)]
    if not asked:
        return found
    of = {
        "continued": [np.asarray(right[q])[going_QS[q]] for q in asked],
        "student": [np.asarray(student[q])[going_QS[q]] for q in asked],
        "teacher": [teacher[q] for q in asked],
    }
    return found + [_accuracy(each, "accuracy_going", who=who, at=k) for who, each in of.items()]


def _accuracy(right: Any, figure: str = "accuracy", **told: Any) -> dict[str, Any]:
    # The harmonic mean: questions may have unlike numbers of responses.
    samples = len(right) / sum(1 / len(each) for each in right)
    return row(figure, mean_interval(_scores(right), samples), **told, n=len(right))


def _scores(right: Any) -> list[float]:
    """The share of right responses to each question."""
    return [float(np.mean(each)) for each in right]


def headline(found: Rows) -> str:
    """The accuracies at both ends of the drop, in a line."""
    falls = [each for each in found if each["figure"] == "drop"]
    if not falls:
        return f"no drop: it needs k=0, and a k that {GOING:.0%} of the responses pass"
    [fall] = falls
    first, last = (
        next(r["value"] for r in found if r["figure"] == "accuracy" and r.get("at") == fall[end])
        for end in ("from", "to")
    )
    return (
        f"accuracy {first:.3f} from k=0, {last:.3f} from k={fall['to']}, where "
        f"{fall['share_going']:.0%} still go; drop {fall['value']:.3f} "
        f"[{fall['low']:.3f}, {fall['high']:.3f}]"
    )
