"""Writes the outcome of a run: the student, the plots, the table, the summary."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from esr_cli.base import files
from esr_cli.base.words import counted
from esr_cli.config import TrainConfig
from esr_cli.plots.run import draw
from esr_cli.runs import card, saved
from esr_cli.runs.tracking import Tracker
from esr_cli.student.student import Student
from esr_cli.student.trainers import Trainers
from esr_cli.train import watching


def finish(
    config: TrainConfig, folder: Path, student: Student | Trainers, tokenizer: Any, tracker: Tracker
) -> None:
    """Writes `student/` with its card, `plots/` and `summary.json`; prints what is next."""

    def write(path: Path) -> None:
        student.save(path, tokenizer)
        files.write_text(path / card.NAME, card.text(folder))

    files.write_folder(folder / "student", write)
    if config.tune.method == "lora":
        files.write_folder(folder / "adapter", student.save_adapter)
    figures = draw(folder)
    evals = files.headlines(files.read_rows(folder / "eval.jsonl"))
    summary = summarize(folder, evals)
    tracker.finish(summary, figures)
    files.write_json(folder / "summary.json", summary)
    tracker.table(_table(summary))
    for line in _ends(folder, evals):
        tracker.note(line)
    print(_next(config, folder, list(summary["after"])))


def check_saves(student: Student | Trainers, tokenizer: Any, folder: Path) -> None:
    """Writes all of `student/` but the weights, and removes it: what fails, fails at the start."""
    trial = folder / ".trial"
    try:
        files.write_folder(
            trial / "student", lambda path: student.save(path, tokenizer, weights=False)
        )
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def summarize(folder: Path, evals: files.Rows) -> dict[str, Any]:
    """First and last accuracy of each benchmark, medians of the phase times, total tokens, and
    the first and the last watch on whole responses with the share of time that watches took.

    `evals` has the main metric of each evaluation of the run.
    """
    rows = files.read_rows(folder / "metrics.jsonl")
    before: dict[str, Any] = {}
    for row in evals:
        before.setdefault(row["benchmark"], row)
    # Rollouts sampled from older weights have a gap by design.
    fresh = [
        row.get("rollout/logprob_gap_max", 0.0) for row in rows if not row.get("rollout/stale")
    ]
    times = [key for key in rows[0] if key.startswith("time/") and key != "time/watch_s"]
    watch = watching.summary(folder, sum(row["time/step_s"] for row in rows))
    return {
        "steps": rows[-1]["step"],
        "before": before,
        "after": {row["benchmark"]: row for row in evals},
        "tokens": sum(row["rollout/tokens"] for row in rows),
        "median": {key: median(row[key] for row in rows) for key in times},
        "logprob_gap_max": max(fresh, default=0.0),
        "skipped_steps": sum(row["train/skipped"] for row in rows),
        "memory/peak_gib": rows[-1]["memory/peak_gib"],
        **({"watch": watch} if watch else {}),
    }


def _ends(folder: Path, evals: files.Rows) -> Iterator[str]:
    """The best and the last evaluation of the first benchmark, and where their students are."""
    if not evals:
        yield f"the student: {folder / 'student'}"
        return
    rows = [row for row in evals if row["benchmark"] == evals[0]["benchmark"]]
    last, best = rows[-1], files.best(rows)
    if best["value"] > last["value"]:
        kept = folder / "checkpoints" / f"step-{best['step']:06d}"
        where = kept if kept.is_dir() else "the untrained student" if best["step"] == 0 else (
            "its checkpoint is not kept: keep_checkpoints, save_every"
        )  # fmt: skip
        yield f"best: {_accuracy(best)} ({where})"
    yield f"last: {_accuracy(last)} ({folder / 'student'})"


def _accuracy(row: dict[str, Any]) -> str:
    return (
        f"step {row['step']}, {row['benchmark']} {row['metric']} {row['value']:.3f} "
        f"[{row['low']:.3f}, {row['high']:.3f}]"
    )


def _next(config: TrainConfig, folder: Path, benchmarks: list[str]) -> str:
    """The commands that people type after a run."""
    run, runs = shlex.quote(str(folder)), shlex.quote(str(folder.parent))
    typed = saved.to_type(config)
    commands = [f"report runs={runs}", " ".join([f"probe run={run} probe=all", *typed])]
    if benchmarks and benchmarks[0] in files.options("benchmark"):
        # It has one setting for the code of both models.
        typed = list(dict.fromkeys(each.rpartition(".")[2] for each in typed))
        graded = f"eval run={run} benchmark={benchmarks[0]} checkpoints=all"
        commands.append(" ".join([graded, *typed]))
    return "\n".join(["next:", *(f"  esr {each}" for each in commands)])


def _table(summary: dict[str, Any]) -> Table:
    table = Table(show_header=False)
    for label in ("before", "after"):
        for row in summary[label].values():
            interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
            name = f"{row['benchmark']} {row['metric']} {label} (step {row['step']})"
            table.add_row(name, f"{row['value']:.3f}  {interval}")
    for key, seconds in summary["median"].items():
        phase = key.removeprefix("time/").removesuffix("_s")
        table.add_row(f"{phase}, median", f"{seconds:.3f} s")
    steps = counted(summary["steps"], "step")
    table.add_row("response tokens", f"{summary['tokens']:,.0f} in {steps}")
    table.add_row("largest log-probability gap", f"{summary['logprob_gap_max']:.1e}")
    if watch := summary.get("watch"):
        ends = (watch["first"], watch["last"])
        for row in ends if watch["watches"] > 1 else ends[:1]:
            interval = f"[{row['ended_low']:.3f}, {row['ended_high']:.3f}]"
            name = f"whole responses that end (step {row['step']})"
            table.add_row(name, f"{row['ended']:.3f}  {interval}")
        share = f"{watch['share']:.1%} of the steps' time"
        table.add_row("watches", f"{watch['watches']} in {watch['seconds']:.1f} s, {share}")
    return table
