"""Mirrors a run's files to W&B; a failure of W&B never stops or delays the run.

A resumed run gets one complete record: each start logs all rows of the run folder again before it
adds new ones, under the same id. Offline files of earlier starts are renamed, so that `wandb sync`
uploads each step once.
"""

from __future__ import annotations

import os
import queue
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from esr_cli.base.files import Rows, read_rows
from esr_cli.config import TrackingConfig

ID = "wandb_id"
SAMPLE_COLUMNS = ("id", "benchmark", "prompt", "response", "correct", "reason")
# How long the end of a run waits for W&B, in seconds.
FINISH_S = {"offline": 60, "online": 600}


class Mirror:
    """One W&B run for all starts of an esr run, identified by the id in the run folder.

    `note` and `warn` take a line for the terminal. The x-axis is esr's own `step`, so that late
    evaluations are placed correctly. W&B is called in a thread of its own: its service may hang.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], settings: TrackingConfig, tags: Sequence[str],
        note: Callable[[str], None], warn: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._folder, self._config, self._settings, self._tags = folder, config, settings, tags
        self._note, self._warn = note, warn
        self._actions: queue.SimpleQueue[Callable[[Any], Any] | None] = queue.SimpleQueue()
        self._run: Any = None
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._finish_s = 0

    def open(self) -> None:
        """Starts the W&B run and logs what the run folder already holds.

        Call it once the rows after the last checkpoint are cut off.
        """
        if self._settings.mode == "disabled":
            return
        os.environ.setdefault("WANDB_SILENT", "true")
        # With this, W&B would append to the run of this id instead of replacing its rows.
        os.environ.pop("WANDB_RESUME", None)
        try:
            self._run = self._start()
            self._run.define_metric("step")
            self._run.define_metric("*", step_metric="step")
            _rename_earlier(self._folder / "wandb", Path(self._run.sync_dir).name)
        except Exception as error:  # W&B must not stop a run, whatever fails
            self._run, self._error = None, error
            self._report("could not start")
            return
        self._thread = threading.Thread(target=self._work, args=(self._run,), daemon=True)
        self._thread.start()
        self._replay()

    def log(self, step: int, figures: dict[str, Any]) -> None:
        """Logs the metrics of a step."""
        self._do(lambda run: run.log({**figures, "step": step}))

    def evaluation(self, step: int, rows: Rows, samples: Rows) -> None:
        """Logs an evaluation: `samples`, responses to look at, as a table, and the metrics."""

        def send(run: Any) -> None:
            import wandb

            data = [[row[column] for column in SAMPLE_COLUMNS] for row in samples]
            run.log({"samples": wandb.Table(columns=list(SAMPLE_COLUMNS), data=data), "step": step})

        if samples:
            self._do(send)
        self.log(step, {f"eval/{row['benchmark']}/{row['metric']}": row["value"] for row in rows})

    def watch(self, row: dict[str, Any]) -> None:
        """Logs a watch on whole responses."""
        figures = {key: value for key, value in row.items() if "/" not in key and key != "step"}
        self.log(row["step"], {f"watch/{key}": value for key, value in figures.items()})

    def images(self, step: int, paths: Sequence[Path]) -> None:
        """Logs plots under the names of their files."""

        def send(run: Any) -> None:
            import wandb

            images = {f"plots/{path.stem}": wandb.Image(str(path)) for path in paths}
            run.log({**images, "step": step})

        self._do(send)

    def alert(self, title: str, text: str) -> None:
        """Sends an alert, which W&B forwards by mail or chat if configured."""
        self._do(lambda run: run.alert(title=title, text=text, level="WARN"))

    def summary(self, figures: dict[str, Any]) -> None:
        """Updates the run's summary, one value per key."""
        self._do(lambda run: run.summary.update(figures))

    def close(self) -> None:
        """Finishes the W&B run; waits for it, but not for ever."""
        if self._thread:
            self._do(lambda run: run.finish())
            self._actions.put(None)
            self._thread.join(self._finish_s)
            if self._thread.is_alive():
                _kill_service()
                self._thread.join(10)
                self._error = TimeoutError(f"no answer in {self._finish_s} s")
            self._report("stopped")
        self._run = self._thread = None

    def _start(self) -> Any:
        import wandb

        mode = self._settings.mode
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            self._note(
                "W&B: no key found; run `wandb login` (or set WANDB_API_KEY) to go online. "
                f"{self._offline()}"
            )
            mode = "offline"
        if mode == "online":
            try:
                return self._init("online")
            except Exception as error:  # no network, a wrong key, no permission for the project
                reason = str(error).partition("\n")[0]
                self._warn(f"W&B could not go online ({reason}). {self._offline()}")
                _end_service()  # it still holds the run's id
        return self._init("offline")

    def _offline(self) -> str:
        where = f"{self._folder}/wandb/offline-*"
        return f"Logging offline; upload it later with: wandb sync {where}"

    def _init(self, mode: Any) -> Any:
        import wandb

        settings = self._settings
        self._finish_s = FINISH_S[mode]
        # Without `resume`, the rows of this start replace those that W&B has of this id.
        return wandb.init(
            entity=settings.entity, project=settings.project, group=settings.group,
            name=settings.name or "/".join(self._folder.absolute().parts[-2:]),
            tags=[*self._tags, *settings.tags], id=_id(self._folder), mode=mode,
            config=self._config, dir=self._folder.absolute(),
            settings=wandb.Settings(
                console="off", x_disable_stats=True, x_disable_meta=True,
                x_save_requirements=False,
            ),
        )  # fmt: skip

    def _replay(self) -> None:
        """Logs the rows in the run folder in the order in which they were first logged."""
        metrics = {row["step"]: row for row in read_rows(self._folder / "metrics.jsonl")}
        evals, samples, watches = (
            {step: list(rows) for step, rows in groupby(read_rows(self._folder / name), _step)}
            for name in ("eval.jsonl", "samples.jsonl", "watch.jsonl")
        )
        for step in sorted(metrics.keys() | evals.keys() | watches.keys()):
            if step in metrics:
                self.log(step, metrics[step])
            if step in evals:
                self.evaluation(step, evals[step], samples.get(step, []))
            for row in watches.get(step, ()):
                self.watch(row)

    def _do(self, action: Callable[[Any], Any]) -> None:
        self._report("stopped")
        if self._run is not None:
            self._actions.put(action)

    def _work(self, run: Any) -> None:
        while (action := self._actions.get()) is not None:
            try:
                action(run)
            except Exception as error:  # likewise
                self._error = error
                _end_service()
                return

    def _report(self, what: str) -> None:
        """Writes a line on the first error, in the caller's thread, and logs nothing from then."""
        if self._error is not None:
            error, self._error, self._run = self._error, None, None
            with suppress(OSError):  # the disk may be what failed
                self._warn(f"W&B {what} ({error}); metrics.jsonl holds everything")


def _step(row: dict[str, Any]) -> int:
    return int(row["step"])


def _rename_earlier(folder: Path, current: str) -> None:
    # `wandb sync` takes folders named offline-* only.
    with suppress(OSError):
        for earlier in folder.glob("offline-run-*"):
            if earlier.name != current:
                earlier.rename(earlier.with_name(f"replaced-{earlier.name}"))


def _end_service() -> None:
    """Removes W&B's hook for the end of the process, which would fail with a traceback."""
    import wandb

    with suppress(Exception):
        wandb.teardown()


def _kill_service() -> None:
    """Kills W&B's service, for which the end of the process would wait."""
    import wandb

    with suppress(Exception):  # W&B has no public way to do it
        wandb.setup()._connection._proc._process.kill()  # type: ignore[union-attr]


def _id(folder: Path) -> str:
    path = folder / ID
    if not path.is_file():
        path.write_text(f"{secrets.token_hex(4)}\n")
    return path.read_text().strip()
