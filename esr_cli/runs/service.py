"""What a tracker of experiments must offer, and what it learns about the run that it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from esr_cli.base.files import Rows, read_rows
from esr_cli.config import TrackingConfig
from esr_cli.config.errors import need
from esr_cli.runs import environment

SAMPLE_COLUMNS = ("id", "benchmark", "prompt", "response", "correct", "reason")
# Files of the run folder with the id under which a tracker knows the run.
IDS = WANDB_ID, TRACKIO_ID = ("wandb_id", "trackio_id")
# Trackers whose packages are extras; W&B is always installed.
EXTRAS = ("tensorboard", "trackio")


@dataclass(frozen=True)
class Shown:
    """A run as its trackers show it.

    `note` and `warn` take a line for the terminal, from any thread.
    """

    folder: Path
    config: dict[str, Any]
    settings: TrackingConfig
    note: Callable[[str], None]
    warn: Callable[[str], None]

    @property
    def name(self) -> str:
        """The name that the settings give, else the last two parts of the run folder."""
        return self.settings.name or "/".join(self.folder.absolute().parts[-2:])

    def environment(self) -> dict[str, Any]:
        """Command, commit, versions and machine of this start, as in environment.jsonl."""
        rows = read_rows(self.folder / environment.FILE)
        return {key: value for key, value in rows[-1].items() if key != "step"} if rows else {}


class Service(Protocol):
    """A tracker. Any of its methods may raise anything; the mirror then ends it with `give_up`.

    All but `give_up` are called in one thread, which is not that of the run, and may take long.
    After `start` it holds no row of the run: rows of earlier starts are logged again.
    """

    title: str
    # How long the end of a run waits for what is left, with `start` and `finish`, in seconds.
    finish_s: float

    def start(self) -> None: ...

    def log(self, step: int, figures: dict[str, Any]) -> None: ...

    def samples(self, step: int, rows: Rows) -> None: ...

    def images(self, step: int, paths: Sequence[Path]) -> None: ...

    def alert(self, step: int, title: str, text: str) -> None: ...

    def summary(self, figures: dict[str, Any]) -> None: ...

    def model(self, folder: Path) -> None: ...

    def finish(self) -> None: ...

    def give_up(self, hangs: bool) -> None: ...


def need_packages(settings: TrackingConfig) -> None:
    """Raises `ConfigError` if a chosen tracker is not installed; imports none of them."""
    for name in EXTRAS:
        if getattr(settings, name):
            try:
                version(name)
            except PackageNotFoundError:
                remedy = f'it is not installed; pip install "esr-cli[{name}]", or leave it out'
                need(False, "tracking", name, remedy)
