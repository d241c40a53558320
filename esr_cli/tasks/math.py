"""Word problems with one answer: MATH-500 and GSM8K."""

from __future__ import annotations

from esr_cli.config import ConfigError
from esr_cli.tasks.rows import Row
from esr_cli.types import Question


def question(row: Row, wording: str) -> Question:
    """A row of MATH (`problem`, `answer`) or GSM8K (`question`, `answer` after `####`)."""
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
