"""`esr eval`: grades a model's responses to benchmarks, or existing responses from a file."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Literal

from rich.table import Table

from esr_cli.base import reading, terminal
from esr_cli.base.words import counted
from esr_cli.benchmarks import catalog
from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.exam import Responses, judge
from esr_cli.benchmarks.responses import Answers, for_benchmark
from esr_cli.config import EvalConfig, ModelConfig, needed
from esr_cli.eval import folder as eval_folder
from esr_cli.eval.folder import Done
from esr_cli.runs.record import rows_in
from esr_cli.types import Grader

# On the terminal only the median length is shown.
FILE_ONLY = re.compile(r"length_\w+/(mean|p10|p90)$").match


def run(config: EvalConfig, overrides: list[str]) -> None:
    """Runs the evaluation; raises `ConfigError` before any model loads."""
    _need_files(config)
    chosen = catalog.load_all(config.benchmark, config.data_dir, config.limit)
    with ExitStack() as stack:
        graders = {}
        for each in chosen:
            graders[each.name] = catalog.grader(each.config, config.sandbox, print)
            stack.callback(graders[each.name].close)
        responses_of = _source(config, chosen)
        folder = eval_folder.open_for(config, overrides)
        done = eval_folder.done(folder)
        for step, each, responses in responses_of(folder, stack, done):
            _grade(folder, each, graders[each.part_of or each.name], responses, step)
    _print(folder)


def _need_files(config: EvalConfig) -> None:
    """Raises `ConfigError` for what is missing, before a download of something else is tried."""
    needed.need(config)
    if config.generations:
        reading.open_file(Path(config.generations)).close()
    if config.model:
        from esr_cli.assembly import model_folder

        model_folder.check("model", ModelConfig(config.model, config.revision), need_weights=True)


# Where responses come from, already checked: (folder, stack, done) to (step, benchmark, responses).
Source = Callable[[Path, ExitStack, Done], Iterator[tuple[int, Benchmark, Responses]]]


def _source(config: EvalConfig, chosen: list[Benchmark]) -> Source:
    if config.generations is None:
        # Heavy imports only if a model is needed.
        from esr_cli.eval import model as eval_model

        return eval_model.plan(config, chosen)
    existing = _read_responses(Path(config.generations), chosen)
    return lambda folder, stack, done: (
        (0, each.benchmark, each.responses) for each in existing
        if (each.benchmark.name, 0) not in done
    )  # fmt: skip


def _read_responses(path: Path, chosen: list[Benchmark]) -> list[Answers]:
    found = [for_benchmark(path, each, alone=len(chosen) == 1) for each in chosen]
    for each in found:
        print(each.said, flush=True)
    return found


def _grade(
    folder: Path, benchmark: Benchmark, grader: Grader, responses: Responses, step: int
) -> None:
    start = time.perf_counter()
    evaluation = judge(benchmark, grader, responses, step)
    eval_folder.append(folder, evaluation)
    if evaluation.warning:
        print(evaluation.warning, flush=True)
    seconds = time.perf_counter() - start
    count = counted(sum(len(row["responses"]) for row in evaluation.generations), "response")
    print(f"{benchmark.name}: {count} graded in {seconds:.1f} s", flush=True)


def _print(folder: Path) -> None:
    table = Table(title=str(folder), title_justify="left")
    for heading in ("benchmark", "step", "metric", "value", "95 % interval", "n"):
        side: Literal["left", "right"] = "left" if heading in ("benchmark", "metric") else "right"
        table.add_column(heading, justify=side, no_wrap=heading == "benchmark")
    shown = [row for row in rows_in(folder, "eval.jsonl") if not FILE_ONLY(row["metric"])]
    for (benchmark, step), rows in groupby(shown, key=lambda row: (row["benchmark"], row["step"])):
        for row in rows:
            form = "{:,.0f}" if row["metric"].startswith("length") else "{:.3f}"
            low, high = form.format(row["low"]), form.format(row["high"])
            count = f"{row['n']} of {row['of']}" if row.get("of") else str(row["n"])
            table.add_row(
                benchmark, str(step), row["metric"], form.format(row["value"]),
                f"[{low}, {high}]", count,
            )  # fmt: skip
        table.add_section()
    terminal.show(table)
    print(f"all figures: {folder / 'eval.jsonl'}\nresponses: {folder / 'generations.jsonl'}")
