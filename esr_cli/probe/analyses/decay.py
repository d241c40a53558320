"""Off-policy teacher decay: the longer the student's prefix, the less accurate the teacher.

The teacher completes the first k tokens of a student's response. At k = 0 this measures its own
accuracy; if every response has ended before k, it measures the student's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from esr_cli.base.statistics import GOING, mean_interval, paired
from esr_cli.probe.analyses.reads import Rows, row

# The ladder has eighths of that k, which leave the teacher something to write, and quarters of the
# way from that k to the longest response.
NEAR, FAR = (0, 1, 2, 3, 4, 6), (1, 2, 3)

Verdicts = Sequence[Sequence[bool]]


def ladder(lengths: Sequence[int]) -> list[int]:
    """The k to measure at, in tokens, for responses of these `lengths`."""
    longest = max(lengths)
    # Rounded, since (1 - 0.9) * 20 is slightly less than 2.
    may_end = int(round((1 - GOING) * len(lengths), 6))
    passed = sorted(lengths)[may_end] - 1
    far = [passed + (longest - passed) * part // 4 for part in FAR]
    return sorted({*(passed * part // 8 for part in NEAR), *far})


def rows(
    right: Mapping[int, Verdicts], going: Mapping[int, Verdicts], student: Verdicts,
    teacher: Verdicts,
) -> Rows:  # fmt: skip
    """Accuracies by k, and the drop from k = 0; all arguments are questions x samples.

    `right[k]`: whether the response that the teacher continued from k tokens is correct.
    `going[k]`: whether the student's response is longer than k. `student`, `teacher`: whether their
    own responses are correct.
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
    fields = {"from": 0, "to": far, "share_going": round(shares[far], 6)}
    return [*found, row("drop", fall, **fields, n=len(right[0]))]


def _among_going(
    k: int, right: Verdicts, going: Verdicts, student: Verdicts, teacher: Verdicts
) -> Rows:
    """The share of responses longer than k, and their accuracy as continued and as the student's.

    For comparison: the teacher's accuracy on the same questions.
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


def _accuracy(right: Any, figure: str = "accuracy", **fields: Any) -> dict[str, Any]:
    # The harmonic mean, since the number of responses may differ by question.
    samples = len(right) / sum(1 / len(each) for each in right)
    return row(figure, mean_interval(_scores(right), samples), **fields, n=len(right))


def _scores(right: Any) -> list[float]:
    """The share of correct responses to each question."""
    return [float(np.mean(each)) for each in right]


def headline(found: Rows) -> str:
    """The accuracies at both ends of the drop, in one line."""
    falls = [each for each in found if each["figure"] == "drop"]
    if not falls:
        return f"no drop: it needs k=0 and a k that {GOING:.0%} of the responses are longer than"
    [fall] = falls
    first, last = (
        next(r["value"] for r in found if r["figure"] == "accuracy" and r.get("at") == fall[end])
        for end in ("from", "to")
    )
    return (
        f"accuracy {first:.3f} from k=0, {last:.3f} from k={fall['to']} "
        f"({fall['share_going']:.0%} of the responses are longer); drop {fall['value']:.3f} "
        f"[{fall['low']:.3f}, {fall['high']:.3f}]"
    )
