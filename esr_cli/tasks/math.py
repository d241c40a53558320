"""Math questions from MATH-500 and GSM8K, and from NuminaMath and similar sets for training."""

from __future__ import annotations

from collections.abc import Callable

from esr_cli.config import ConfigError
from esr_cli.tasks.rows import Row
from esr_cli.types import Question


def question(row: Row, wording: str) -> Question:
    """Returns the question of a MATH (`problem`, `answer`) or GSM8K row (`answer` after `####`)."""
    if "problem" in row.values:
        problem, answer = row.get("problem", str), row.get("answer", str)
    else:
        problem, solution = row.get("question", str), row.get("answer", str)
        answer = solution.rpartition("####")[2].strip()
        if "####" not in solution or not answer:
            raise ConfigError(f"{row.where}: field 'answer' holds no number after ####")
    text = wording.replace("{problem}", problem.strip())
    return Question(
        id=str(row.values.get("id", row.number)),
        messages=({"role": "user", "content": text},),
        reference=answer,
    )


def training_question(row: Row, last_box: Callable[[str], str | None]) -> Question | None:
    """Returns the question of a NuminaMath, MATH or GSM8K row, or None without a problem.

    The answer is optional; `last_box` extracts it from a solution.
    """
    field = "problem" if "problem" in row.values else "question"
    problem = row.text(field)
    if problem is None:
        return None
    turn = {"role": "user", "content": problem}
    return Question(id=row.id, messages=(turn,), reference=_answer(row, field, last_box))


def _answer(row: Row, field: str, last_box: Callable[[str], str | None]) -> str | None:
    answer, solution = (str(row.values.get(key) or "") for key in ("answer", "solution"))
    if field == "problem":
        return answer or last_box(solution)
    return answer.rpartition("####")[2].strip() if "####" in answer else last_box(answer)
