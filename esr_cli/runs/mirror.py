"""Mirrors a run's files to its trackers; a failure of one never stops or delays the run.

A resumed run gets one complete record: each start logs all rows of the run folder again before it
adds new ones.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from esr_cli.base.files import Rows, best, headlines, read_rows
from esr_cli.runs.service import Service, Shown
from esr_cli.runs.tensorboard_mirror import TensorBoard
from esr_cli.runs.trackio_mirror import Trackio
from esr_cli.runs.wandb_mirror import Wandb

Action = Callable[[Service], Any]
# No upload of a model is slower, in bytes per second; a copy on this machine is faster by far.
SLOWEST = 2**20
# Seconds that a run waits for a tracker at its end without a word.
QUIET_S = 5.0


class Mirror:
    """All trackers of a run. Each may fail alone."""

    def __init__(self, run: Shown) -> None:
        self._run = run
        self._connections: list[_Connection] = []
        self._step = 0
        self._best: dict[str, dict[str, Any]] = {}

    def open(self) -> None:
        """Starts the trackers, for which nobody waits, and logs what the run folder already holds.

        Call it once the rows after the last checkpoint are cut off.
        """
        self._connections = [_Connection(each, self._run.warn) for each in _chosen(self._run)]
        for each in self._connections:
            each.open()
        if self._connections:
            self._replay()

    def log(self, step: int, figures: dict[str, Any]) -> None:
        """Logs the metrics of a step."""
        self._step = step
        self._do(lambda service: service.log(step, figures))

    def evaluation(self, step: int, rows: Rows, samples: Rows) -> None:
        """Logs an evaluation: its metrics, the best accuracy so far, and responses to look at."""
        if samples:
            self._do(lambda service: service.samples(step, samples))
        self.log(step, {f"eval/{row['benchmark']}/{row['metric']}": row["value"] for row in rows})
        for row in headlines(rows):
            key = f"best/{row['benchmark']}/{row['metric']}"
            found = self._best[key] = best([self._best.get(key, row), row])
            if found is row:
                self.summary({key: row["value"], f"{key}/step": step})

    def watch(self, row: dict[str, Any]) -> None:
        """Logs a watch on whole responses."""
        figures = {key: value for key, value in row.items() if "/" not in key and key != "step"}
        self.log(row["step"], {f"watch/{key}": value for key, value in figures.items()})

    def images(self, step: int, paths: Sequence[Path]) -> None:
        """Logs plots under the names of their files."""
        self._do(lambda service: service.images(step, paths))

    def alert(self, title: str, text: str) -> None:
        """Sends an alert, which W&B and trackio forward by mail or chat if configured."""
        step = self._step
        self._do(lambda service: service.alert(step, title, text))

    def summary(self, figures: dict[str, Any]) -> None:
        """Updates the run's summary, one value per key."""
        self._do(lambda service: service.summary(figures))

    def model(self, folder: Path) -> None:
        """Gives the trained student to the trackers that take models."""
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for each in self._connections:
            each.extra_s += size / SLOWEST
        self._do(lambda service: service.model(folder.absolute()))

    def close(self, failed: bool = False) -> None:
        """Ends the trackers; waits for them, but not for ever, and after a failure only for those
        that have started.
        """
        for each in self._connections:
            each.end()
        for each in self._connections:
            each.close(self._run.note, failed)
        self._connections = []

    def _do(self, action: Action) -> None:
        for each in self._connections:
            each.do(action)

    def _replay(self) -> None:
        """Logs the rows in the run folder in the order in which they were first logged."""
        folder = self._run.folder
        metrics = {row["step"]: row for row in read_rows(folder / "metrics.jsonl")}
        evals, samples, watches = (
            {step: list(rows) for step, rows in groupby(read_rows(folder / name), _step)}
            for name in ("eval.jsonl", "samples.jsonl", "watch.jsonl")
        )
        for step in sorted(metrics.keys() | evals.keys() | watches.keys()):
            if step in metrics:
                self.log(step, {key: metrics[step][key] for key in metrics[step] if key != "step"})
            if step in evals:
                self.evaluation(step, evals[step], samples.get(step, []))
            for row in watches.get(step, ()):
                self.watch(row)


class _Connection:
    """A tracker that is started and called in a thread of its own, since it may hang."""

    def __init__(self, service: Service, warn: Callable[[str], None]) -> None:
        self._service, self._warn = service, warn
        self._actions: queue.SimpleQueue[Action | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._works = self._started = self._over = False
        self.extra_s = 0.0

    def open(self) -> None:
        """Starts the tracker; actions wait in the queue until it has started."""
        self._works = True
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def do(self, action: Action) -> None:
        """Queues an action."""
        self._report()
        if self._works:
            self._actions.put(action)

    def end(self) -> None:
        """Lets the tracker end after its start and the actions so far."""
        self.do(lambda service: service.finish())
        self._actions.put(None)

    def close(self, note: Callable[[str], None], failed: bool) -> None:
        """Waits until the tracker has ended, or gives it up."""
        if self._thread:
            seconds = self._service.finish_s + self.extra_s
            if failed and not self._started:
                seconds = min(seconds, QUIET_S)
            self._thread.join(min(seconds, QUIET_S))
            if self._thread.is_alive() and seconds > QUIET_S:
                note(f"waiting for {self._service.title}, at most {seconds:.0f} s")
                self._thread.join(seconds - QUIET_S)
            hangs = self._thread.is_alive()
            if hangs:
                self._over = True
                self._error = TimeoutError(f"no answer in {seconds:.0f} s")
            self._report()
            if hangs:
                self._give_up(hangs=True)
                self._thread.join(10)
        self._works, self._thread = False, None

    def _work(self) -> None:
        try:
            self._service.start()
            self._started = True
            while (action := self._actions.get()) is not None and not self._over:
                action(self._service)
        except Exception as error:  # a tracker must not stop a run, whatever fails
            self._error = error
            self._give_up(hangs=False)

    def _give_up(self, hangs: bool) -> None:
        with suppress(Exception):  # likewise
            self._service.give_up(hangs)

    def _report(self) -> None:
        """Writes a line on the first error, in the caller's thread, and logs nothing from then."""
        if self._error is not None:
            what = "stopped" if self._started else "could not start"
            error, self._error, self._works = self._error, None, False
            reason = " ".join(str(error).split()) or type(error).__name__
            with suppress(OSError):  # the disk may be what failed
                self._warn(
                    f"{self._service.title} {what} ({reason}); metrics.jsonl holds everything"
                )


def _chosen(run: Shown) -> Iterator[Service]:
    if run.settings.mode != "disabled":
        yield Wandb(run)
    if run.settings.tensorboard:
        yield TensorBoard(run)
    if run.settings.trackio:
        yield Trackio(run)


def _step(row: dict[str, Any]) -> int:
    return int(row["step"])
