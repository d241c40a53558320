"""Responses side by side in one self-contained HTML page."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Any

from esr_cli.base.files import Rows, write_text

WHO = ("before", "after", "teacher")
LABELS = {"before": "Student before training", "after": "Student after training",
          "teacher": "Teacher"}  # fmt: skip
# The quantile of the shown tokens' KL that gets the full colour.
FULL_QUANTILE = 0.95


def write(path: Path, rows: Rows, title: str) -> None:
    """Writes the page for the rows of samples.jsonl, in their order."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("esr_cli.plots", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    known = sorted(kl for row in rows for kl in row["kl"] if kl is not None)
    full = known[min(len(known) - 1, int(FULL_QUANTILE * len(known)))] if known else 1.0
    page = environment.get_template("samples.html.jinja").render(
        title=title, questions=_questions(rows, full or 1.0), full=full or 1.0, labels=LABELS
    )
    write_text(path, page)


def _questions(rows: Rows, full: float) -> list[dict[str, Any]]:
    questions = []
    for name, own in groupby(rows, key=lambda row: row["id"]):
        answers = sorted(own, key=lambda row: WHO.index(row["who"]))
        shown = [{**row, "marks": _marks(row, full)} for row in answers]
        questions.append({"id": name, "prompt": answers[0]["prompt"], "answers": shown})
    return questions


def _marks(row: dict[str, Any], full: float) -> list[tuple[str, float | None, int]]:
    """Each token's text, its KL, and the strength of its colour in tenths.

    Invisible blanks before a line break are removed.
    """
    return [
        (re.sub(r"[ \t]+(?=\n)", "", text), kl, 0 if kl is None else min(10, round(10 * kl / full)))
        for text, kl in zip(row["tokens"], row["kl"], strict=True)
    ]
