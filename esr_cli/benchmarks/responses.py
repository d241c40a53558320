"""Files of responses, `{"id": …, "responses": […]}` a line: read, and checked against questions."""

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
    """The responses in `path` to a benchmark's questions; those to others are left.

    A row may name its benchmark, and must where several are graded (not `alone`); of a file that a
    run made, the last evaluation counts. Raises `ConfigError` where a question has no responses, or
    two have not as many, or a pass@k asks for more than there are.
    """
    own = [row for row in read(path) if _is_of(row, benchmark.name, alone)]
    last = max((row.values.get("step", 0) for row in own), default=0)
    found: dict[str, list[Response]] = {}
    for row in own:
        name = str(row.values.get("id", ""))
        if row.values.get("step", 0) != last:
            continue
        if name in found:
            raise ConfigError(f"{row.where}: field 'id': {name} stands there twice")
        found[name] = _responses(row)
    _check_ids(path, benchmark, found)
    _check_counts(path, benchmark, {name: len(found[name]) for name in _ids(benchmark)})
    return found


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
        raise ConfigError(f"{row.where}: field 'responses' must be a list of texts, one or more")
    tokens: list[Any] = row.values.get("tokens") or [None] * len(texts)
    finish: list[Any] = row.values.get("finish") or [None] * len(texts)
    if len(tokens) != len(texts) or len(finish) != len(texts):
        raise ConfigError(f"{row.where}: 'tokens' and 'finish' must be as many as 'responses'")
    # Words stand in for tokens, which a text alone does not tell.
    return [
        Response(text, count, end, repeats(text.split()))
        for text, count, end in zip(texts, tokens, finish, strict=True)
    ]


def _check_ids(path: Path, benchmark: Benchmark, found: dict[str, list[Response]]) -> None:
    ids = _ids(benchmark)
    missing = [name for name in ids if name not in found]
    if missing:
        have = f"; it has {next(iter(found))}, for one" if found else ""
        raise ConfigError(
            f"generations={path}: no responses to {len(missing)} of {len(ids)} questions of "
            f"{benchmark.name} ({missing[0]}, for one){have}; limit=K takes the first K"
        )


def _check_counts(path: Path, benchmark: Benchmark, counts: dict[str, int]) -> None:
    fewest = min(counts, key=lambda name: counts[name])
    most = max(counts, key=lambda name: counts[name])
    if counts[fewest] != counts[most]:
        raise ConfigError(
            f"generations={path}: {counts[fewest]} responses to {fewest} but {counts[most]} to "
            f"{most}; give as many to each"
        )
    for k in benchmark.config.pass_at:
        if k > counts[fewest]:
            raise ConfigError(
                f"benchmark.{benchmark.name}.pass_at={k}: pass@k needs k responses a question, and "
                f"{path} has {counts[fewest]}; give pass_at=[] or fewer"
            )
