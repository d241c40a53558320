"""Run folders as they lie on disk."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.config import gate
from esr_cli.disk import Rows, headlines, read_rows

# One figure a question, by benchmark and step.
Scores = dict[tuple[str, int], dict[str, float]]
BOX = "\\boxed{"


@dataclass(frozen=True)
class Run:
    """One run: `state` is complete, unfinished or failed; `evals` has the rows of every evaluation;
    `right` and `boxes` hold for each question the share of responses that are right, and that hold
    several boxes; `starts` says with which versions and where.
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
        """The benchmark that stands for the run: the first it was asked."""
        return next((row["benchmark"] for row in headlines(self.evals)), "")

    def steps(self, benchmark: str) -> list[int]:
        """At which steps it was evaluated, in order."""
        return sorted({row["step"] for row in self.evals if row["benchmark"] == benchmark})

    def row(self, benchmark: str, metric: str, step: int) -> dict[str, Any] | None:
        """One figure of one evaluation; a metric that ends in `@` stands for any k."""
        for row in self.evals:
            named = row["metric"] == metric or (metric[-1] == "@" and metric in row["metric"][:9])
            if named and row["benchmark"] == benchmark and row["step"] == step:
                return row
        return None

    def best(self, benchmark: str) -> int | None:
        """The step after the start with the highest accuracy, the first of equals."""
        rows = [row for row in headlines(self.evals) if row["benchmark"] == benchmark]
        later = [row for row in rows if row["step"] > 0] or rows
        return max(later, key=lambda row: (row["value"], -row["step"]))["step"] if later else None


def find(folder: Path) -> list[Run]:
    """All runs at or below `folder`, by path."""
    places = {path.parent for path in folder.rglob("metrics.jsonl")}
    return [read(place) for place in sorted(places) if (place / "config.yaml").is_file()]


def read(folder: Path) -> Run:
    """One run, with what `esr eval run=` and `esr probe run=` added to its folder."""
    evals: Rows = []
    right: Scores = {}
    boxes: Scores = {}
    for place in (folder, *sorted(folder.glob("eval/*"))):
        seen = {(row["benchmark"], row["step"]) for row in evals}
        rows = read_rows(place / "eval.jsonl")
        evals += [row for row in rows if (row["benchmark"], row["step"]) not in seen]
        for row in _lines(place / "generations.jsonl"):
            key = (row["benchmark"], row["step"])
            if key not in seen:
                count = len(row["correct"])
                right.setdefault(key, {})[row["id"]] = sum(row["correct"]) / count
                several = sum(text.count(BOX) > 1 for text in row["responses"])
                boxes.setdefault(key, {})[row["id"]] = several / count
    return Run(
        folder, gate.read_yaml(folder / "config.yaml"), _state(folder),
        read_rows(folder / "metrics.jsonl"), evals, right, boxes, probes_in(folder / "probes"),
        read_rows(folder / "environment.jsonl"),
    )  # fmt: skip


def probes_in(folder: Path) -> dict[str, Rows]:
    """The rows of every probe in a folder of probes, by its name."""
    return {path.stem: rows for path in sorted(folder.glob("*.jsonl")) if (rows := read_rows(path))}


def loose_probes(folder: Path, runs: list[Run]) -> list[tuple[Path, dict[str, Rows]]]:
    """Folders of probes that belong to no run: of a pair before any training."""
    of_runs = {run.folder for run in runs}
    places = sorted({path.parent for path in folder.rglob("*.jsonl") if _of_probes(path)})
    found = [(place, probes_in(place)) for place in places if place.parent not in of_runs]
    return [(place, rows) for place, rows in found if rows]


def teacher_evals(folder: Path, run: Run) -> Rows:
    """Figures of the run's teacher, where `esr eval model=TEACHER` left them below `folder`."""
    wanted = run.config["pair"]["teacher"]["path"]
    for path in sorted(folder.rglob("eval.jsonl")):
        saved = path.with_name("config.yaml")
        if saved.is_file() and gate.read_yaml(saved).get("model") == wanted:
            return read_rows(path)
    return []


def _of_probes(path: Path) -> bool:
    # `esr probe` leaves its settings beside its rows.
    return path.parent.name.startswith("probes") or path.with_suffix(".yaml").is_file()


def _state(folder: Path) -> str:
    if (folder / "summary.json").is_file():
        return "complete"
    log = folder / "esr.log"
    said = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return "failed" if any(" failed: " in line[:40] for line in said[-4:]) else "unfinished"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    # One at a time: responses of long runs are larger than memory may be.
    if path.is_file():
        with path.open() as file:
            for line in file:
                with contextlib.suppress(json.JSONDecodeError):
                    yield json.loads(line)
