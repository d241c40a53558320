"""Builds a benchmark: its questions and its grader. Does not import torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any

from esr_cli.base import files
from esr_cli.base.words import counted
from esr_cli.config import BenchmarkConfig, ConfigError
from esr_cli.graders import lab as lab_grader
from esr_cli.graders.plain import PlainGrader
from esr_cli.tasks import code, lab, math, rows, tools, words
from esr_cli.tasks.wording import placed
from esr_cli.types import Grader, Question


@dataclass(frozen=True)
class Benchmark:
    """The name, settings and questions of a benchmark.

    `of` is the number of all questions of the benchmark `part_of`, if these are a part of them.
    `content` is a hash of all questions of a benchmark of one's own (`benchmark=FILE`); empty for
    those of the package, whose files' names stand for them.
    """

    name: str
    config: BenchmarkConfig
    questions: list[Question]
    of: int | None = None
    part_of: str = ""
    content: str = ""

    def answered(self, questions: list[Question], count: int) -> Benchmark:
        """The benchmark with those of its questions that have `count` responses each.

        A part of the questions is another benchmark by name, so that nothing mistakes it for the
        whole. Of the k of pass@k those up to `count` remain, and `count` itself.
        """
        asked = self.config.pass_at
        ks = sorted({*(k for k in asked if k < count), count}) if asked else []
        config = replace(self.config, samples=count, pass_at=ks)
        total = len(self.questions)
        if len(questions) == total:
            return replace(self, config=config)
        name = f"{self.name} ({len(questions):,} of {total:,})"
        return Benchmark(name, config, questions, total, self.name, self.content)


def load(
    name: str, config: BenchmarkConfig, data_dir: str | None, limit: int | None = None
) -> Benchmark:
    """Reads the first `limit` questions (all if None); raises `ConfigError` if it cannot."""
    functions = config.wording_in_text if config.tools_in == "text" else ""
    questions = _questions(name, config, data_dir)
    own = config.files and name not in files.options("benchmark")
    content = files.hash_of({"questions": _fixed(questions)}) if own else ""
    asked = [placed(each, config.system, functions) for each in questions[:limit]]
    return Benchmark(name, config, asked, content=content)


def _fixed(value: Any) -> str:
    """A text for a value, in which the order of sets, another in each process, does not matter."""
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_fixed, value)))}}}"
    if isinstance(value, dict):
        return _fixed(list(value.items()))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_fixed, value))}]"
    if is_dataclass(value):
        return _fixed([getattr(value, each.name) for each in fields(value)])
    return repr(value)


def load_all(
    chosen: Mapping[str, BenchmarkConfig], data_dir: str | None, limit: int | None
) -> list[Benchmark]:
    """All benchmarks of a configuration; see `load`."""
    return [load(name, config, data_dir, limit) for name, config in chosen.items()]


def _questions(name: str, config: BenchmarkConfig, data_dir: str | None) -> list[Question]:
    if config.kind == "lab":
        return [
            lab.question(index, "held_out", config.chain_length, config.modulus)
            for index in range(config.problems)
        ]
    if config.kind == "words":
        fewest, most = config.words.changes
        return [
            words.question(index, "held_out", (fewest, most), config.words.largest, config.wording)
            for index in range(config.problems)
        ]
    data = rows.load(name, config.files, config.hub, config.source, data_dir)
    if not data:
        raise ConfigError(f"{name}: {', '.join(config.files)} holds no rows")
    if config.kind == "math":
        questions = [math.question(row, config.wording) for row in data]
    elif config.kind == "code":
        wording = None if config.prompt == "raw" else config.wording
        questions = [code.question(row, config.family, config.plus, wording) for row in data]
    else:
        answers = rows.load(name, config.answers, config.hub, config.source, data_dir)
        questions = tools.questions(data, answers, config.wording)
    duplicates = len(questions) - len({question.id for question in questions})
    if duplicates:
        raise ConfigError(
            f"{name}: {counted(duplicates, 'row')} with the id of another; each needs its own"
        )
    return questions


def grader(config: BenchmarkConfig, sandbox: str, warn: Callable[[str], None]) -> Grader:
    """The grader of the responses; raises `ConfigError` if the sandbox cannot run."""
    if config.kind in ("math", "words"):
        from esr_cli.graders.math import MathGrader

        return MathGrader(box=config.box)
    if config.kind == "code":
        return _code_grader(sandbox, config.prompt == "raw", warn)
    if config.kind == "tools":
        from esr_cli.graders import tools as tools_grader

        return PlainGrader(tools_grader.grade)
    return PlainGrader(partial(lab_grader.grade, box=config.box))


def _code_grader(sandbox: str, raw: bool, warn: Callable[[str], None]) -> Grader:
    from esr_cli.graders.code import CodeGrader

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            grader = CodeGrader(sandbox, raw=raw)
        except RuntimeError as error:
            raise ConfigError(f"sandbox={sandbox}: {error}") from None
    for each in caught:
        if each.category is UserWarning:
            warn(f"warning: {each.message}")
    return grader
