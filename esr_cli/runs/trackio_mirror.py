"""A run in trackio: its database on this machine, or a Hugging Face Space."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.runs.service import SAMPLE_COLUMNS, TRACKIO_ID, Shown

SPACE = "https://huggingface.co/spaces/"


class Trackio:
    """One trackio run for all starts of an esr run, identified by the id in the run folder."""

    title = "trackio"

    def __init__(self, run: Shown) -> None:
        self._shown = run
        self._run: Any = None
        self._step = 0
        self._problems: list[str] = []
        # trackio itself goes to the server in this variable if there is no Space.
        self._remote = bool(run.settings.space or os.environ.get("TRACKIO_SERVER_URL"))
        self.finish_s: float = 600 if self._remote else 60

    def start(self) -> None:
        """Starts a trackio run in place of that of an earlier start."""
        import trackio

        shown, settings, path = self._shown, self._shown.settings, self._shown.folder / TRACKIO_ID
        earlier, name = path.read_text().strip() if path.exists() else "", shown.name
        if self._remote:
            # trackio deletes runs of this machine only, so that others get names of their own.
            name = f"{name} ({time.strftime('%m-%d %H:%M')})" if earlier else name
        else:
            _forget(trackio, settings.project, earlier)
        self._listen(trackio)
        self._run = trackio.init(
            project=settings.project, name=name, group=settings.group, space_id=settings.space,
            embed=False,
            config={**shown.config, "tags": settings.tags, "environment": shown.environment()},
        )  # fmt: skip
        path.write_text(f"{self._run.id}\n")
        for problem in self._problems:
            shown.warn(f"trackio: {problem}")
        self._problems.clear()
        local = f"trackio show --project {shlex.quote(settings.project)}"
        shown.note(f"trackio: {SPACE}{settings.space}" if settings.space else f"trackio: {local}")

    def log(self, step: int, figures: dict[str, Any]) -> None:
        """Logs the metrics of a step."""
        self._step = step
        self._run.log(dict(figures), step=step)
        self._need_none()

    def samples(self, step: int, rows: Rows) -> None:
        """Logs responses as a table."""
        import trackio

        data = [[row.get(column) for column in SAMPLE_COLUMNS] for row in rows]
        self.log(step, {"samples": trackio.Table(columns=list(SAMPLE_COLUMNS), data=data)})

    def images(self, step: int, paths: Sequence[Path]) -> None:
        """Logs plots under the names of their files."""
        import trackio

        self.log(step, {f"plots/{path.stem}": trackio.Image(str(path)) for path in paths})

    def alert(self, step: int, title: str, text: str) -> None:
        """Sends an alert, which trackio forwards to a chat if configured."""
        import trackio

        self._run.alert(title, text, level=trackio.AlertLevel.WARN, step=step)
        self._need_none()

    def summary(self, figures: dict[str, Any]) -> None:
        """Logs a summary's numbers at the last step: trackio has no summary of a run."""
        numbers = {key: value for key, value in figures.items() if isinstance(value, int | float)}
        self.log(self._step, numbers)

    def model(self, folder: Path) -> None:
        """Logs the student as an artifact, of which trackio keeps a copy."""
        self._run.log_artifact(str(folder), name=f"student-{self._run.id}", type="model")

    def finish(self) -> None:
        """Writes what is left, and ends the run."""
        self._run.finish()
        self._need_none()

    def give_up(self, hangs: bool) -> None:
        """Leaves the run as it is: trackio's threads do not outlive the process."""

    def _listen(self, trackio: Any) -> None:
        """Makes trackio tell us what it would print.

        It reports its own failures as Python warnings, and each start and end in several lines; it
        has no setting for either.
        """
        for module in (trackio, *(sys.modules[f"trackio.{name}"] for name in ("run", "utils"))):
            module.print = _silent  # type: ignore[attr-defined]
            module._emit_nonfatal_warning = lambda text, *_, **__: self._problems.append(text)  # type: ignore[attr-defined]

    def _need_none(self) -> None:
        if self._problems:
            raise RuntimeError(self._problems[0])


def _silent(*_: Any, **__: Any) -> None:
    pass


def _forget(trackio: Any, project: str, earlier: str) -> None:
    """Deletes the run of that id from the database of this machine."""
    with suppress(ValueError):  # there is no such project yet
        for run in trackio.Api().runs(project):
            if run.id == earlier:
                run.delete()
