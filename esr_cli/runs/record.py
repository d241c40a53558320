"""Reads run folders from disk."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from esr_cli.base import reading
from esr_cli.base.files import Rows, best, headlines
from esr_cli.base.statistics import Interval
from esr_cli.config import ConfigError, gate
from esr_cli.runs import lines

# One value per question, by benchmark and step.
Scores = dict[tuple[str, int], dict[str, float]]
BOX = "\\boxed{"


@dataclass(frozen=True)
class Run:
    """One run.

    `state` is complete, unfinished or failed. `evals` has the rows of all evaluations. `right` and
    `boxes` give, for each question, the share of correct responses and of responses with several
    boxes. `starts` has the versions and the machine of each start.
    """

    folder: Path
    config: dict[str, Any]
    state: str
    metrics: Rows
    evals: Rows
    right: Scores
    boxes: Scores
    probes: dict[str, Rows]
    starts: Rows

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])

    @property
    def benchmark(self) -> str:
        """The run's main benchmark: the first that was evaluated."""
        return next((row["benchmark"] for row in headlines(self.evals)), "")

    def steps(self, benchmark: str) -> list[int]:
        """The steps at which the benchmark was evaluated, in order."""
        return sorted({row["step"] for row in self.evals if row["benchmark"] == benchmark})

    def row(self, benchmark: str, metric: str, step: int) -> dict[str, Any] | None:
        """One metric of one evaluation; for one that ends in `@`, the row of the largest k."""
        rows = (row for row in self.evals if row["benchmark"] == benchmark and row["step"] == step)
        return of_metric(rows, metric)

    def samples(self, benchmark: str, step: int) -> int:
        """The number of responses per question in an evaluation; 1 if it was not recorded."""
        row = self.row(benchmark, "avg@", step)
        return int(row["metric"].removeprefix("avg@")) if row else 1

    def column(self, name: str) -> list[float]:
        """The values of one metric over the steps that have it."""
        return [row[name] for row in self.metrics if row.get(name) is not None]

    def best(self, benchmark: str) -> int | None:
        """The step after the start with the highest accuracy, the first one in a tie."""
        rows = [row for row in headlines(self.evals) if row["benchmark"] == benchmark]
        later = [row for row in rows if row["step"] > 0] or rows
        return best(later)["step"] if later else None


def of_metric(rows: Iterable[dict[str, Any]], metric: str) -> dict[str, Any] | None:
    """The row of a metric; for one that ends in `@`, the row of the largest k."""
    if not metric.endswith("@"):
        return next((row for row in rows if row["metric"] == metric), None)
    by_k = {row["metric"].removeprefix(metric): row
           for row in rows if row["metric"].startswith(metric)}  # fmt: skip
    return by_k[max(known, key=int)] if (known := list(filter(str.isdecimal, by_k))) else None


def places(folder: Path) -> list[Path]:
    """All run folders at or below `folder`, by path."""
    found = {path.parent for path in folder.rglob("metrics.jsonl")}
    return [place for place in sorted(found) if (place / "config.yaml").is_file()]


def read(folder: Path) -> Run:
    """One run, including what `esr probe run=` and `esr eval run=` added to its folder.

    Evaluations with other settings than the run's are left out. Raises if the settings or the
    metrics cannot be read.
    """
    config = gate.read_yaml(folder / "config.yaml")
    evals: Rows = []
    right: Scores = {}
    boxes: Scores = {}
    for place, rows in _evaluations(folder, config, _figures):
        evals += rows
        evaluated = {key_of(row) for row in rows}
        for row in lines.read(place / "generations.jsonl", lines.GENERATIONS):
            key = (row.get("benchmark"), row.get("step"))
            if key in evaluated and row.get("correct") and "id" in row:
                right.setdefault(key, {})[row["id"]] = share_right(row)
                boxes.setdefault(key, {})[row["id"]] = share_of_several_boxes(row)
    return Run(
        folder, config, state_of(folder), list(lines.read(folder / "metrics.jsonl", lines.METRICS)),
        evals, right, boxes, probes_in(folder / "probes"),
        list(lines.read(folder / "environment.jsonl", lines.ENVIRONMENT)),
    )  # fmt: skip


def rows_in(place: Path, name: str, needed: tuple[str, ...] | None = None) -> Rows:
    """The rows of `eval.jsonl` or `generations.jsonl` of one evaluation.

    Raises `ConfigError` if a row lacks one of the `needed` keys, by default all that esr writes.
    """
    kinds, usual = lines.OF_FILE[name]
    return list(lines.read(place / name, kinds, usual if needed is None else needed))


def rows_of_run(folder: Path, name: str) -> Rows:
    """The rows of `eval.jsonl` or `generations.jsonl` of all evaluations of a run: its own, then
    those that `esr eval run=` added with the run's settings.
    """
    found: Rows = []
    config = settings_at(folder / "config.yaml")
    for place, rows in _evaluations(folder, config, partial(rows_in, name="eval.jsonl")):
        evaluated = {key_of(row) for row in rows}
        found += [row for row in rows_in(place, name) if key_of(row) in evaluated]
    return found


def evaluated_by(folder: Path) -> set[tuple[str, int]]:
    """Benchmark and step of each evaluation of a run, those added by `esr eval run=` included."""
    return {key_of(row) for row in rows_of_run(folder, "eval.jsonl")}


def key_of(row: dict[str, Any]) -> tuple[str, int]:
    """The evaluation that a row belongs to: benchmark and step."""
    return row["benchmark"], row["step"]


def share_right(row: dict[str, Any]) -> float:
    """The share of the responses to one question that are correct."""
    return sum(row["correct"]) / len(row["correct"])


def share_of_several_boxes(row: dict[str, Any]) -> float:
    """The share of the responses to one question that hold more than one box."""
    several = sum(text.count(BOX) > 1 for text in row.get("responses", ()))
    return several / len(row["correct"])


def last_step(folder: Path) -> int:
    """The last step in a run's metrics; raises `ConfigError` if there is none."""
    rows = list(lines.read(folder / "metrics.jsonl", lines.METRICS, ("step",)))
    if not rows:
        raise ConfigError(f"{folder / 'metrics.jsonl'}: holds no step; the run left no metrics")
    return int(rows[-1]["step"])


def _evaluations(
    folder: Path, config: dict[str, Any], rows_in: Callable[[Path], Rows]
) -> Iterator[tuple[Path, Rows]]:
    """The folders of a run's evaluations, each with its rows: the run's own first, then `eval/*`.

    Left out are evaluations with other settings than the run's, and repeated ones.
    """
    seen: set[tuple[str, int]] = set()
    for place in (folder, *sorted(folder.glob("eval/*"))):
        asked = settings_at(place / "config.yaml")
        rows = [row for row in rows_in(place) if alike(asked, config, row["benchmark"])]
        rows = [row for row in rows if key_of(row) not in seen]
        seen |= {key_of(row) for row in rows}
        yield place, rows


def interval_of(row: dict[str, Any]) -> Interval:
    """A value with its bounds; a missing bound is infinite."""
    low, high = row.get("low"), row.get("high")
    return row["value"], -math.inf if low is None else low, math.inf if high is None else high


def settings_at(path: Path) -> dict[str, Any]:
    """The settings in a YAML file; empty if it is absent or broken."""
    # The file may not be one of ours; it must not raise.
    with contextlib.suppress(ConfigError):
        return gate.read_yaml(path)
    return {}


def probes_in(folder: Path) -> dict[str, Rows]:
    """The rows of each probe in a folder, by its name; raises if a file is broken."""
    found = {
        path.stem: list(lines.read(path, lines.PROBE)) for path in sorted(folder.glob("*.jsonl"))
    }
    return {name: rows for name, rows in found.items() if rows}


def loose_probes(folder: Path, of_runs: Iterable[Path]) -> list[Path]:
    """Folders of probes outside the run folders `of_runs`: probes of a pair before training."""
    found = sorted({path.parent for path in folder.rglob("*.jsonl") if _of_probes(path)})
    return [place for place in found if place.parent not in of_runs]


def teacher_evals(folder: Path, run: Run) -> Rows:
    """The metrics of the run's teacher that `esr eval model=TEACHER` left below `folder`, if any.

    Raises if they are broken.
    """
    wanted = run.config["pair"]["teacher"]["path"]
    for path in sorted(folder.rglob("eval.jsonl")):
        if settings_at(path.with_name("config.yaml")).get("model") == wanted:
            return _figures(path.parent)
    return []


def _of_probes(path: Path) -> bool:
    # `esr probe` writes its settings next to its rows.
    return path.parent.name.startswith("probes") or path.with_suffix(".yaml").is_file()


def state_of(folder: Path) -> str:
    """Whether a run is complete, unfinished or failed."""
    if (folder / "summary.json").is_file():
        return "complete"
    log = folder / "esr.log"
    entries = [line for _, line in reading.lines(log)] if log.is_file() else []
    # Each line begins with a timestamp of 20 characters; each start logs the run folder first.
    starts = [at for at, line in enumerate(entries) if line[20:].startswith("run folder: ")]
    since = entries[starts[-1] if starts else 0 :]
    failed = any(line[20:].startswith("failed: ") for line in since)
    return "failed" if failed else "unfinished"


def _figures(place: Path) -> Rows:
    """The complete rows of an evaluation."""
    found = []
    for row in lines.read(place / "eval.jsonl", lines.EVAL):
        if None not in (row.get(key) for key in ("benchmark", "step", "metric", "value")):
            _, low, high = interval_of(row)
            found.append({**row, "low": low, "high": high})
    return found


def alike(asked: dict[str, Any], config: dict[str, Any], benchmark: str) -> bool:
    """Whether an evaluation's settings `asked` match the run's: the same number of questions and,
    if the run evaluates that benchmark, the same benchmark settings.
    """
    run_settings, eval_settings = (
        (each.get("benchmark") or {}).get(benchmark) for each in (config, asked)
    )
    same = run_settings is None or run_settings == eval_settings
    return "limit" in asked and asked["limit"] == config["limit"] and same
