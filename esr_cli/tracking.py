"""What a run tells: metrics.jsonl is the truth, the terminal and W&B are its mirrors."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from esr_cli import disk
from esr_cli.disk import Rows

COLUMNS = {
    "loss": ("train/loss", "{:.4f}"),
    "KL": ("train/reverse_kl", "{:.4f}"),
    "length": ("rollout/length_mean", "{:.0f}"),
    "generate": ("time/generate_s", "{:.2f}s"),
    "score": ("time/score_s", "{:.2f}s"),
    "train": ("time/train_s", "{:.2f}s"),
    "sync": ("time/sync_s", "{:.2f}s"),
}


class Tracker:
    """Appends to the run folder's files, shows progress, and mirrors to W&B where it can."""

    def __init__(
        self, run_dir: Path, config: dict[str, Any], mode: str, project: str, name: str,
        total_steps: int, start: int = 0, samples: int = 8,
    ) -> None:  # fmt: skip
        self.samples = samples
        self.run_dir, self.total_steps = run_dir, total_steps
        self.console = Console(highlight=False)
        self._began, self._start = time.perf_counter(), start
        self._bar: Progress | None = None
        self._wandb = self._open_wandb(config, mode, project, name)
        if sys.stdout.isatty():
            self._bar = self._open_bar(start)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar:
            self._bar.stop()
        self._mirror(lambda run: run.finish())
        self._wandb = None

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """One line of metrics.jsonl, and of progress; `step` counts completed steps.

        A value that is not finite is left out: JSON has no word for it.
        """
        metrics = {key: value for key, value in metrics.items() if math.isfinite(value)}
        self.append("metrics.jsonl", {"step": step, **metrics})
        self._mirror(lambda run: run.log(metrics, step=step))
        shown = "  ".join(
            f"{label} {form.format(metrics[key])}"
            for label, (key, form) in COLUMNS.items()
            if key in metrics
        )
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=step, shown=shown)
            return
        done = step - self._start
        left = (time.perf_counter() - self._began) / done * (self.total_steps - step)
        print(f"step {step}/{self.total_steps}  {shown}  left {left:.0f}s", flush=True)

    def begin(self) -> None:
        """Time left is reckoned from here: starting up is no part of a step."""
        self._began = time.perf_counter()

    def log_eval(self, rows: Rows, generations: Rows, seconds: float) -> None:
        """An evaluation: all responses, a few of each benchmark to look at, and the figures."""
        step = rows[0]["step"]
        disk.append_rows(self.run_dir / "generations.jsonl", generations)
        self._log_samples(step, generations)
        # Last, since figures mean that their responses are there.
        disk.append_rows(self.run_dir / "eval.jsonl", rows)
        figures = {f"eval/{row['benchmark']}/{row['metric']}": row["value"] for row in rows}
        self._mirror(lambda run: run.log(figures, step=step))
        for row in disk.headlines(rows):
            low, high = row["low"], row["high"]
            self.note(
                f"step {step}: {row['benchmark']} {row['metric']} {row['value']:.3f} "
                f"[{low:.3f}, {high:.3f}] on {row['n']} problems ({seconds:.0f} s)"
            )

    def _log_samples(self, step: int, generations: Rows) -> None:
        columns = ("id", "benchmark", "prompt", "response", "correct", "reason")
        shown = []
        for _, rows in groupby(generations, key=lambda row: row["benchmark"]):
            for row in islice(rows, self.samples):
                first = {"response": row["responses"][0]}
                first |= {key: row[key][0] for key in ("correct", "reason")}
                shown.append({"step": step} | {key: {**row, **first}[key] for key in columns})
        disk.append_rows(self.run_dir / "samples.jsonl", shown)

        def table(run: Any) -> None:
            import wandb

            data = [[row[column] for column in columns] for row in shown]
            run.log({"samples": wandb.Table(columns=list(columns), data=data)}, step=step)

        if shown:
            self._mirror(table)

    def log_figures(self, figures: list[Path]) -> None:
        """The drawn plots."""

        def send(run: Any) -> None:
            import wandb

            run.log({f"plots/{path.stem}": wandb.Image(str(path)) for path in figures})

        self._mirror(send)

    def note(self, message: str) -> None:
        """A line on the terminal and in esr.log."""
        if self._bar:
            self._bar.console.print(message, markup=False)
        else:
            print(message, flush=True)
        with (self.run_dir / "esr.log").open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")

    def warn(self, message: str) -> None:
        """A note that says it is a warning."""
        self.note(f"warning: {message}")

    def alarm(self, message: str) -> None:
        """A warning that W&B hands on, by mail or chat, where one has asked it to."""
        self.warn(message)
        self._mirror(lambda run: run.alert(title=message.split(";")[0], text=message, level="WARN"))

    def finish(self, summary: dict[str, Any]) -> None:
        """The summary, for W&B; the file is written by the caller, last of all."""
        self._mirror(lambda run: run.summary.update(summary))

    def append(self, name: str, row: dict[str, Any]) -> None:
        """One JSON line at the end of a file of the run folder."""
        disk.append_rows(self.run_dir / name, [row])

    def _open_bar(self, start: int) -> Progress:
        bar = Progress(
            TextColumn("step {task.completed}/{task.total}"), BarColumn(bar_width=20),
            TextColumn("{task.fields[shown]}"), TimeRemainingColumn(), console=self.console,
        )  # fmt: skip
        bar.add_task("train", total=self.total_steps, completed=start, shown="")
        bar.start()
        return bar

    def _open_wandb(self, config: dict[str, Any], mode: Any, project: str, name: str) -> Any:
        if mode == "disabled":
            return None
        os.environ.setdefault("WANDB_SILENT", "true")
        try:
            import wandb

            if mode == "online" and not wandb.api.api_key:
                self.note("W&B: no key found; run `wandb login` to go online. Logging offline.")
                mode = "offline"
            settings = wandb.Settings(
                console="off", x_disable_stats=True, x_disable_meta=True, x_save_requirements=False
            )
            return wandb.init(
                project=project, name=name, mode=mode, config=config, dir=self.run_dir,
                settings=settings,
            )  # fmt: skip
        except Exception as error:  # a mirror that cannot be hung must not stop a run
            self.warn(f"W&B could not start ({error}); metrics.jsonl holds everything")
            return None

    def _mirror(self, action: Callable[[Any], Any]) -> None:
        if self._wandb is None:
            return
        try:
            action(self._wandb)
        except Exception as error:  # nor may one that falls off the wall
            self._wandb = None
            self.warn(f"W&B stopped ({error}); metrics.jsonl holds everything")
