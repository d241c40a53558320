"""A benchmark put together: its questions and its grader. Loads no torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from esr_cli.config import BenchmarkConfig, ConfigError
from esr_cli.graders import lab as lab_grader
from esr_cli.graders.plain import PlainGrader
from esr_cli.tasks import code, lab, math, rows, tools
from esr_cli.types import Grader, Question


@dataclass(frozen=True)
class Benchmark:
    """Its name, its settings, and the questions that are asked."""

    name: str
    config: BenchmarkConfig
    questions: list[Question]


def load(
    name: str, config: BenchmarkConfig, data_dir: str | None, limit: int | None = None
) -> Benchmark:
    """Reads the questions, the first `limit` of them; raises `ConfigError` where it cannot."""
    return Benchmark(name, config, _questions(name, config, data_dir)[:limit])


def load_all(
    chosen: Mapping[str, BenchmarkConfig], data_dir: str | None, limit: int | None
) -> list[Benchmark]:
    """Every benchmark of a configuration, see `load`."""
    return [load(name, config, data_dir, limit) for name, config in chosen.items()]


def _questions(name: str, config: BenchmarkConfig, data_dir: str | None) -> list[Question]:
    if config.kind == "lab":
        return [
            lab.question(index, "held_out", config.chain_length, config.modulus)
            for index in range(config.problems)
        ]
    found = rows.load(name, config.files, config.hub, config.source, data_dir)
    if not found:
        raise ConfigError(f"{name}: {', '.join(config.files)} holds no rows")
    if config.kind == "math":
        questions = [math.question(row, config.wording) for row in found]
    elif config.kind == "code":
        questions = [
            code.question(row, config.family, config.plus, config.wording) for row in found
        ]
    else:
        answers = rows.load(name, config.answers, config.hub, config.source, data_dir)
        questions = tools.questions(found, answers, config.wording)
    twice = len(questions) - len({question.id for question in questions})
    if twice:
        raise ConfigError(f"{name}: {twice} rows repeat the id of another; each needs its own")
    return questions


def grader(config: BenchmarkConfig, sandbox: str, warn: Callable[[str], None]) -> Grader:
    """What judges the responses; raises `ConfigError` where the sandbox cannot run."""
    if config.kind == "math":
        from esr_cli.graders.math import MathGrader

        return MathGrader()
    if config.kind == "code":
        return _code_grader(sandbox, warn)
    if config.kind == "tools":
        from esr_cli.graders import tools as tools_grader

        return PlainGrader(tools_grader.grade)
    return PlainGrader(lab_grader.grade)


def _code_grader(sandbox: str, warn: Callable[[str], None]) -> Grader:
    from esr_cli.graders.code import CodeGrader

    if sandbox == "none":
        warn("warning: sandbox=none: the candidates' code runs unprotected, as you")
    with warnings.catch_warnings():
        # Said above, in a line of our own.
        warnings.simplefilter("ignore")
        try:
            return CodeGrader(sandbox)
        except RuntimeError as error:
            raise ConfigError(f"sandbox={sandbox}: {error}") from None
