"""Off-policy teacher decay: the longer the student's prefix, the less accurate the teacher.

The teacher completes the first k tokens of a student's response. At k = 0 this measures its own
accuracy; if every response has ended before k, it measures the student's. As a control it completes
the first k tokens of its own response, and as the mirror the student completes the teacher's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esr_cli.base.statistics import GOING, mean_interval, paired
from esr_cli.probe.analyses import decline
from esr_cli.probe.analyses.reads import Rows, row

# The default values of k: eighths of the largest k that 90 % of the responses are longer than, so
# that the teacher has something to write, and quarters of the way from there to the longest one.
NEAR, FAR = (0, 1, 2, 3, 4, 6), (1, 2, 3)

Verdicts = Sequence[Sequence[bool]]


@dataclass(frozen=True)
class Answers:
    """Whether responses are correct, as questions x samples.

    `student` and `teacher` are their own responses. The others map k to the results: `continued`
    those of the teacher after a prefix of the student, `control` after one of its own, `mirror`
    those of the student after a prefix of the teacher; the last two may be empty.
    """

    student: Verdicts
    teacher: Verdicts
    continued: Mapping[int, Verdicts]
    control: Mapping[int, Verdicts]
    mirror: Mapping[int, Verdicts]


def ladder(lengths: Sequence[int]) -> list[int]:
    """The k to measure at, in tokens, for responses of these `lengths`."""
    longest = max(lengths)
    # Rounded, since (1 - 0.9) * 20 is slightly less than 2.
    may_end = int(round((1 - GOING) * len(lengths), 6))
    passed = sorted(lengths)[may_end] - 1
    far = [passed + (longest - passed) * part // 4 for part in FAR]
    return sorted({*(passed * part // 8 for part in NEAR), *far})


def rows(
    answers: Answers, going: Mapping[int, Verdicts],
    holding: Mapping[str, Mapping[int, Verdicts]],
) -> Rows:  # fmt: skip
    """Accuracies by k, and how they decline from k = 0; all verdicts are questions x samples.

    `going[k]`: whether the student's response is longer than k. `holding[word][k]`: whether its
    first k tokens contain `word`.
    """
    found: Rows = []
    for who in ("continued", "control", "mirror"):
        by_k = getattr(answers, who)
        found += [_accuracy(by_k[k], who=who, at=k) for k in sorted(by_k)]
    found += [_accuracy(getattr(answers, who), who=who) for who in ("student", "teacher")]
    for k in sorted(going):
        found += _at(answers, k, going[k], {word: by_k[k] for word, by_k in holding.items()})
    return found + _decline(answers, {k: float(np.mean(going[k])) for k in sorted(going)})


def _at(answers: Answers, k: int, going: Verdicts, holding: Mapping[str, Verdicts]) -> Rows:
    """The share of responses longer than k, and the accuracies among these: all of them, by the
    student's own result, and those whose prefix holds a word.
    """
    going_QS, right_QS = (np.asarray(each, dtype=bool) for each in (going, answers.student))
    found = [row("share_going", float(going_QS.mean()), at=k, n=going_QS.size)]
    found += _among(answers, k, going_QS, "accuracy_going")
    for student, of_student_QS in (("right", right_QS), ("wrong", ~right_QS)):
        chosen_QS = going_QS & of_student_QS
        found += _among(answers, k, chosen_QS, "accuracy_by_student", student=student)
    for word, holds in holding.items():
        chosen_QS = going_QS & np.asarray(holds, dtype=bool)
        found += _among(answers, k, chosen_QS, "accuracy_by_prefix", prefix=word)
    return found


def _among(answers: Answers, k: int, chosen_QS: np.ndarray, figure: str, **fields: Any) -> Rows:
    """The accuracy of the chosen responses as continued and as the student's; for comparison, that
    of the teacher's own responses to the same questions.
    """
    asked = np.flatnonzero(chosen_QS.any(1)).tolist()
    if not asked:
        return []
    of = {
        "continued": [np.asarray(answers.continued[k][q])[chosen_QS[q]] for q in asked],
        "student": [np.asarray(answers.student[q])[chosen_QS[q]] for q in asked],
        "teacher": [answers.teacher[q] for q in asked],
    }
    return [_accuracy(each, figure, who=who, at=k, **fields) for who, each in of.items()]


def _decline(answers: Answers, shares: Mapping[int, float]) -> Rows:
    """How accuracy declines from k = 0 to the largest k that most responses are longer than."""
    near = [k for k, share in shares.items() if share >= GOING]
    if 0 not in near or len(near) < 2:
        return []
    far = near[-1]
    scores = {k: _scores(answers.continued[k]) for k in near}
    fields = {"from": 0, "to": far, "share_going": round(shares[far], 6), "n": len(scores[0])}
    found = [row("drop", paired(scores[far], scores[0]), **fields)]
    if far in answers.control:
        against = paired(scores[far], _scores(answers.control[far]))
        found.append(row("drop_against_control", against, at_k=far, n=len(scores[0])))
    if far in answers.mirror:
        gain = paired(_scores(answers.student), _scores(answers.mirror[far]))
        found.append(row("gain_of_mirror", gain, at_k=far, n=len(scores[0])))
    return found + decline.rows(scores)


def _accuracy(right: Any, figure: str = "accuracy", **fields: Any) -> dict[str, Any]:
    # The harmonic mean, since the number of responses may differ by question.
    samples = len(right) / sum(1 / len(each) for each in right)
    return row(figure, mean_interval(_scores(right), samples), **fields, n=len(right))


def _scores(right: Any) -> list[float]:
    """The share of correct responses to each question."""
    return [float(np.mean(each)) for each in right]


def headline(found: Rows) -> str:
    """The accuracies at both ends of the drop, and what the control makes of it, in one line."""
    by_figure = {each["figure"]: each for each in found}
    if "drop" not in by_figure:
        return f"no drop: it needs k=0 and a k that {GOING:.0%} of the responses are longer than"
    fall = by_figure["drop"]
    first, last = (
        next(r["value"] for r in found if r["figure"] == "accuracy" and r.get("at") == fall[end])
        for end in ("from", "to")
    )
    text = (
        f"accuracy {first:.3f} from k=0, {last:.3f} from k={fall['to']} "
        f"({fall['share_going']:.0%} of the responses are longer); drop {_interval(fall)}"
    )
    if "drop_against_control" in by_figure:
        text += f", {_interval(by_figure['drop_against_control'])} below the teacher's own prefixes"
    return f"{text}; {decline.words(found)}"


def _interval(each: Mapping[str, float]) -> str:
    return f"{each['value']:.3f} [{each['low']:.3f}, {each['high']:.3f}]"
