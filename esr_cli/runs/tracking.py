"""Logs a run: metrics.jsonl is authoritative, terminal and trackers show the same values."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from rich.table import Table

from esr_cli.base import files, terminal, writing
from esr_cli.base.files import Rows
from esr_cli.base.words import counted
from esr_cli.config import TrackingConfig
from esr_cli.runs import bar, progress
from esr_cli.runs.lines import PHASES
from esr_cli.runs.mirror import Mirror
from esr_cli.runs.service import SAMPLE_COLUMNS, Shown

COLUMNS = {
    "loss": ("train/loss", "{:.4f}"),
    "KL": ("train/reverse_kl", "{:.4f}"),
    "length": ("rollout/length_mean", "{:.0f}"),
    **{phase: (f"time/{phase}_s", "{:.2f}s") for phase in PHASES},
}
# The first line of a terminal, which has 80 columns; the second line has the others.
FIRST = ("loss", "KL")


class Tracker:
    """Appends to the run folder's files, shows progress, and mirrors to the chosen trackers."""

    def __init__(
        self, run_dir: Path, config: dict[str, Any], settings: TrackingConfig, total_steps: int,
        start: int = 0,
    ) -> None:  # fmt: skip
        self.samples, self._model = settings.samples, settings.model
        self.run_dir, self.total_steps = run_dir, total_steps
        self.console = terminal.console()
        self._began, self._start = time.perf_counter(), start
        self._bar: bar.Bar | None = None
        self.progress = progress.in_log("evaluation")
        self.mirror = Mirror(Shown(run_dir, config, settings, self.note, self.warn))
        if terminal.is_terminal():
            self._bar = bar.Bar(self.console, total_steps, start, _n_of(config))
            self.progress = progress.Progress(self._bar.below, 0.0, "evaluation")

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            self.end_progress()
        finally:
            self.mirror.close(failed=kind is not None)

    def end_progress(self) -> None:
        """Leaves the progress of a terminal as it is: what is printed from now on is below it."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Logs the metrics of a step; `step` is the number of completed steps.

        Values that are not finite are left out: JSON cannot express them.
        """
        metrics = {key: value for key, value in metrics.items() if math.isfinite(value)}
        self.append("metrics.jsonl", {"step": step, **metrics})
        self.mirror.log(step, metrics)
        shown = {
            label: f"{label} {form.format(metrics[key])}"
            for label, (key, form) in COLUMNS.items()
            if key in metrics
        }
        if self._bar:
            first = [shown.pop(label) for label in FIRST if label in shown]
            self._bar.step(step, " ".join(first), "  ".join(shown.values()))
            return
        done = step - self._start
        left = (time.perf_counter() - self._began) / done * (self.total_steps - step)
        line = "  ".join(shown.values())
        _print(f"step {step}/{self.total_steps}  {line}  left {left:.0f}s")

    def open_mirror(self) -> None:
        """Starts the trackers with the rows so far; call it once these are cut back."""
        self.mirror.open()

    def begin(self) -> None:
        """Starts the clock of the time-left estimate, so that it excludes the start-up."""
        self._began = time.perf_counter()

    def log_eval(self, rows: Rows, generations: Rows, seconds: float) -> None:
        """Logs an evaluation: all responses, a few samples of each benchmark, and the metrics."""
        step = generations[0]["step"]
        files.append_rows(self.run_dir / "generations.jsonl", generations)
        shown = self._append_samples(step, generations)
        # Last: a row of eval.jsonl implies that its responses are written.
        files.append_rows(self.run_dir / "eval.jsonl", rows)
        self.mirror.evaluation(step, rows, shown)
        headlines = files.headlines(rows)
        if self._bar and headlines:
            self._bar.evaluated(headlines[0]["value"])
        for row in headlines:
            low, high = row["low"], row["high"]
            self.note(
                f"step {step}: {row['benchmark']} {row['metric']} {row['value']:.3f} "
                f"[{low:.3f}, {high:.3f}] on {counted(row['n'], 'problem')} ({seconds:.0f} s)"
            )

    def log_watch(self, row: dict[str, Any]) -> None:
        """Logs a watch: a row of watch.jsonl, whose `step` is the number of completed steps."""
        self.append("watch.jsonl", row)
        self.mirror.watch(row)
        ended, repeats = (
            f"{row[name]:.0%} [{row[f'{name}_low']:.0%}, {row[f'{name}_high']:.0%}]"
            for name in ("ended", "repeats")
        )
        self.note(
            f"step {row['step']}: of {counted(row['responses'], 'whole response')} {ended} ended, "
            f"{repeats} repeat themselves; {row['length_mean']:.0f} tokens on average "
            f"({row['time/watch_s']:.1f} s)"
        )

    def _append_samples(self, step: int, generations: Rows) -> Rows:
        shown = []
        for _, rows in groupby(generations, key=lambda row: row["benchmark"]):
            for row in islice(rows, self.samples):
                first = {"response": row["responses"][0]}
                first |= {"correct": row["correct"] and row["correct"][0]}
                first |= {"reason": row["reason"][0]}
                sample = {key: {**row, **first}[key] for key in SAMPLE_COLUMNS}
                shown.append({"step": step} | sample)
        files.append_rows(self.run_dir / "samples.jsonl", shown)
        return shown

    def note(self, message: str) -> None:
        """Writes a line to the terminal and to esr.log; a tracker does so from its own thread."""
        if self._bar:
            self.console.print(message)
        else:
            _print(message)
        self.record(message)

    def record(self, message: str) -> None:
        """Writes a line to esr.log alone."""
        self._log(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")

    def table(self, table: Table) -> None:
        """Writes a table to the terminal and to esr.log."""
        self.end_progress()
        terminal.show(table)
        self._log(terminal.text(table))

    def _log(self, text: str) -> None:
        with writing.open_file(self.run_dir / "esr.log", os.O_APPEND) as log:
            log.write(text.encode(errors="replace"))

    def warn(self, message: str) -> None:
        """Writes a line marked as a warning."""
        self.note(f"warning: {message}")

    def alarm(self, message: str) -> None:
        """Warns, and sends an alert, which trackers forward by mail or chat if configured."""
        self.warn(message)
        self.mirror.alert(message.split(";")[0], message)

    def finish(self, summary: dict[str, Any], figures: Sequence[Path]) -> None:
        """Sends summary, plots and, if asked for, the student; the caller writes the files."""
        self.mirror.images(summary["steps"], figures)
        self.mirror.summary(_flat(summary))
        if self._model:
            self.mirror.model(self.run_dir / "student")

    def append(self, name: str, row: dict[str, Any]) -> None:
        """Appends one JSON line to a file of the run folder."""
        files.append_rows(self.run_dir / name, [row])


def _print(line: str) -> None:
    # At once: `print` writes the end of a line by itself, and a tracker's line may come before it.
    print(f"{line}\n", end="", flush=True)


def _n_of(config: dict[str, Any]) -> str:
    """N as it is shown: the number of tokens, or `full`; of a schedule the longest."""
    return str(config.get("rollout", {}).get("max_tokens", ""))


def _flat(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary as flat keys: an accuracy by its value, each median under its own name."""
    flat: dict[str, Any] = {}
    for key, value in summary.items():
        if key in ("before", "after"):
            flat |= {f"{key}/{name}/{row['metric']}": row["value"] for name, row in value.items()}
        elif isinstance(value, dict):
            flat |= {f"{key}/{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat
