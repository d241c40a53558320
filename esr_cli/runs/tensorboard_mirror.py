"""A run in TensorBoard: an event file in the run folder, written anew by each start."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from esr_cli.base import writing
from esr_cli.base.files import Rows
from esr_cli.runs.service import Shown
from esr_cli.runs.settings import flat

FOLDER = "tensorboard"
# The first event of a file, by which TensorBoard knows its format.
FORMAT = "brain.Event:2"


class TensorBoard:
    """The event file of a run: scalars, texts, images, and hyperparameters with best accuracies.

    It is written by TensorBoard's own writer of records and not by `SummaryWriter`, whose thread
    dies with a traceback on a full disk.
    """

    title = "TensorBoard"
    finish_s: float = 60

    def __init__(self, run: Shown) -> None:
        self._shown = run
        self._file: Any = None
        self._step = 0
        self._best: dict[str, float] = {}
        self._summary: dict[str, Any] = {}

    def start(self) -> None:
        """Starts an event file in place of those of earlier starts."""
        from tensorboard.compat.proto.event_pb2 import Event

        shown, folder = self._shown, self._shown.folder / FOLDER
        folder.mkdir(exist_ok=True)
        for earlier in folder.glob("events.out.tfevents.*"):
            earlier.unlink()
        name = f"events.out.tfevents.{int(time.time())}.{platform.node()}.{os.getpid()}"
        self._file = writing.open_file(folder / name, os.O_EXCL)
        self._write(Event(file_version=FORMAT, wall_time=time.time()))
        settings = shown.settings
        about = {"name": shown.name, "group": settings.group, "tags": ", ".join(settings.tags)}
        self._text("run", _lines(about | shown.environment()))
        self._text("config", _lines(flat(shown.config)))
        self._file.flush()
        shown.note(f"TensorBoard: tensorboard --logdir {folder}")

    def log(self, step: int, figures: dict[str, Any]) -> None:
        """Logs the metrics of a step as scalars."""
        from torch.utils.tensorboard.summary import scalar

        self._step = step
        for key, value in figures.items():
            if isinstance(value, int | float):
                self._add(scalar(key, value), step)
        self._file.flush()

    def samples(self, step: int, rows: Rows) -> None:
        """Logs responses as texts, one for each benchmark."""
        texts: dict[str, list[str]] = {}
        for row in rows:
            head = f"{row.get('id')} correct: {row.get('correct')} ({row.get('reason')})"
            parts = (head, row.get("prompt"), row.get("response"))
            texts.setdefault(str(row.get("benchmark")), []).append("\n\n".join(map(str, parts)))
        for name, each in texts.items():
            self._text(f"samples/{name}", "\n\n----\n\n".join(each), step)

    def images(self, step: int, paths: Sequence[Path]) -> None:
        """Logs plots under the names of their files."""
        import numpy as np
        from PIL import Image
        from torch.utils.tensorboard.summary import image

        for path in paths:
            with Image.open(path) as plot:
                pixels = np.asarray(plot.convert("RGB"))
            self._add(image(f"plots/{path.stem}", pixels, dataformats="HWC"), step)

    def alert(self, step: int, title: str, text: str) -> None:
        """Logs an alarm as a text: TensorBoard has no alerts."""
        self._text("alarms", text, step)
        self._file.flush()

    def summary(self, figures: dict[str, Any]) -> None:
        """Notes figures for the end, and logs a best accuracy at the step where it was reached."""
        self._summary |= figures
        best = {key: figures[key] for key in figures if f"{key}/step" in figures}
        self._best |= best
        for key, value in best.items():
            self.log(figures[f"{key}/step"], {key: value})

    def model(self, folder: Path) -> None:
        """Logs where the student is: TensorBoard has no files."""
        self._text("student", str(folder), self._step)

    def finish(self) -> None:
        """Logs the hyperparameters with the best accuracies, and the summary as a text."""
        from torch.utils.tensorboard.summary import hparams

        for each in hparams(_values(flat(self._shown.config)), self._best):
            self._add(each, self._step)
        self._text("summary", _lines(self._summary), self._step)
        self._file.close()

    def give_up(self, hangs: bool) -> None:
        """Closes the event file; what a full disk could not take is lost."""
        if self._file and not hangs:
            with suppress(OSError):
                self._file.close()

    def _text(self, tag: str, text: str, step: int = 0) -> None:
        from torch.utils.tensorboard.summary import text as summary_of

        # Indented, which is Markdown for text that is shown as it is.
        indented = "\n".join(f"    {line}" for line in text.splitlines())
        self._add(summary_of(tag, indented), step)

    def _add(self, summary: Any, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        RecordWriter(self._file).write(event.SerializeToString())


def _lines(values: dict[str, Any]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in values.items())


def _values(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as hyperparameters: numbers, switches and texts."""
    plain = bool | int | float | str
    return {key: each if isinstance(each, plain) else str(each) for key, each in settings.items()}
