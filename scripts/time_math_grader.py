"""Times the math grader, start-up included, on four responses per reference of MATH-500.

    python scripts/time_math_grader.py DATA_FOLDER

The four responses: the reference (gold) answer; the same in another notation; the same as a sum, so
that only algebra shows it is correct; and the next question's answer as a sum, which is wrong.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from esr_cli.graders.math import MathGrader

RESPELLED = {r"\frac{1}{2}": "0.5", r"\frac": r"\dfrac", "(": r"\left(", ")": r"\right)"}


def respelled(gold: str) -> str:
    """The gold in another spelling."""
    for one, other in RESPELLED.items():
        gold = gold.replace(one, other)
    return gold


def shifted(gold: str) -> str:
    """A sum equal to the gold; lists, words and relations stay as they are."""
    plain = not any(sign in gold for sign in (",", "text", "mbox", "=", "matrix", "_", "^\\circ"))
    return f"-\\sqrt{{9}}+{gold}+\\frac{{6}}{{2}}" if plain else gold.replace(" ", r"\;")


def main(folder: Path) -> None:
    """Prints the seconds and how many pairs went to math-verify."""
    lines = (folder / "math500.jsonl").read_text().splitlines()
    golds = [json.loads(line)["answer"] for line in lines]
    pairs = []
    for gold, other in zip(golds, [*golds[1:], golds[0]], strict=True):
        for answer in (gold, respelled(gold), shifted(gold), shifted(other)):
            pairs.append((f"Let us see. So the answer is $\\boxed{{{answer}}}$.", gold))
    start = time.perf_counter()
    grader = MathGrader(workers=2)
    grades = grader.grade(pairs)
    grader.close()
    seconds = time.perf_counter() - start
    print(f"{len(pairs)} responses in {seconds:.1f} s, {grader.asked} pairs to math-verify")
    for kind, name in enumerate(("gold", "respelled", "sum", "next gold's sum")):
        print(f"{name}: {sum(grade.correct for grade in grades[kind::4])} right of {len(golds)}")
    print(f"timed out: {sum(grade.reason == 'timed out' for grade in grades)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
