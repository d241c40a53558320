"""Reads and checks files of responses: a `{"id": …, "responses": […]}` per line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from esr_cli.base.statistics import repeats
from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.exam import Responses
from esr_cli.config import ConfigError
from esr_cli.graders.figures import Response
from esr_cli.tasks.rows import Row, read


def for_benchmark(path: Path, benchmark: Benchmark, alone: bool) -> Responses:
    """The responses in `path` to a benchmark's questions; other rows are ignored.

    A row may name its benchmark, and must if several are graded (not `alone`). In a file written by
    a run, the last evaluation counts. Raises `ConfigError` if a question has no responses, if the
    questions differ in their number of responses, or if a pass@k needs more of them.
    """
    matching = [row for row in read(path) if _is_of(row, benchmark.name, alone)]
    last = max((row.values.get("step", 0) for row in matching), default=0)
    responses: dict[str, list[Response]] = {}
    for row in matching:
        name = str(row.values.get("id", ""))
        if row.values.get("step", 0) != last:
            continue
        if name in responses:
            raise ConfigError(f"{row.where}: field 'id': {name} appears twice")
        responses[name] = _responses(row)
    _check_ids(path, benchmark, responses)
    _check_counts(path, benchmark, {name: len(responses[name]) for name in _ids(benchmark)})
    return responses


def _is_of(row: Row, benchmark: str, alone: bool) -> bool:
    named = row.values.get("benchmark")
    if named is None and not alone:
        raise ConfigError(f"{row.where}: field 'benchmark' is missing, and several are graded")
    return named in (None, benchmark)


def _ids(benchmark: Benchmark) -> list[str]:
    return [question.id for question in benchmark.questions]


def _responses(row: Row) -> list[Response]:
    texts = row.get("responses", list)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{row.where}: field 'responses' must be a list of one or more strings")
    tokens: list[Any] = row.values.get("tokens") or [None] * len(texts)
    finish: list[Any] = row.values.get("finish") or [None] * len(texts)
    if len(tokens) != len(texts) or len(finish) != len(texts):
        raise ConfigError(
            f"{row.where}: 'tokens', 'finish' and 'responses' must have the same length"
        )
    # Repeats are counted in words, since the tokens of a text are unknown here.
    return [
        Response(text, count, end, repeats(text.split()))
        for text, count, end in zip(texts, tokens, finish, strict=True)
    ]


def _check_ids(path: Path, benchmark: Benchmark, responses: dict[str, list[Response]]) -> None:
    ids = _ids(benchmark)
    missing = [name for name in ids if name not in responses]
    if missing:
        other = f"; it has e.g. {next(iter(responses))}" if responses else ""
        raise ConfigError(
            f"generations={path}: no responses to {len(missing)} of {len(ids)} questions of "
            f"{benchmark.name} (e.g. {missing[0]}){other}; limit=K takes the first K"
        )


def _check_counts(path: Path, benchmark: Benchmark, counts: dict[str, int]) -> None:
    fewest = min(counts, key=lambda name: counts[name])
    most = max(counts, key=lambda name: counts[name])
    if counts[fewest] != counts[most]:
        raise ConfigError(
            f"generations={path}: {counts[fewest]} responses to {fewest} but {counts[most]} to "
            f"{most}; give the same number to each"
        )
    for k in benchmark.config.pass_at:
        if k > counts[fewest]:
            raise ConfigError(
                f"benchmark.{benchmark.name}.pass_at={k}: pass@k needs k responses a question, and "
                f"{path} has {counts[fewest]}; give pass_at=[] or fewer"
            )
