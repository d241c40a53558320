"""A run in W&B.

Each start replaces what W&B has of the run, under the same id. Offline files of earlier starts are
renamed, so that `wandb sync` uploads each step once.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from esr_cli.base.files import Rows
from esr_cli.runs.service import SAMPLE_COLUMNS, WANDB_ID, Shown

# How long the end of a run waits for W&B, in seconds.
FINISH_S = {"offline": 60, "online": 600}


class Wandb:
    """One W&B run for all starts of an esr run, identified by the id in the run folder.

    The x-axis is esr's own `step`, so that late evaluations are placed correctly.
    """

    title = "W&B"

    def __init__(self, run: Shown) -> None:
        self._shown = run
        self._run: Any = None
        self._given_up = False
        self.finish_s: float = FINISH_S[run.settings.mode]
        # Here and not in `start`, since the run's thread reads the environment, too.
        os.environ.setdefault("WANDB_SILENT", "true")
        # With this, W&B would append to the run of this id instead of replacing its rows.
        os.environ.pop("WANDB_RESUME", None)

    def start(self) -> None:
        """Starts the W&B run, offline if it cannot go online."""
        self._run = self._started()
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        _rename_earlier(self._shown.folder / "wandb", Path(self._run.sync_dir).name)
        if self._run.url and not self._run.offline:
            self._shown.note(f"W&B: {self._run.url}")

    def log(self, step: int, figures: dict[str, Any]) -> None:
        """Logs the metrics of a step."""
        self._run.log({**figures, "step": step})

    def samples(self, step: int, rows: Rows) -> None:
        """Logs responses as a table."""
        import wandb

        data = [[row.get(column) for column in SAMPLE_COLUMNS] for row in rows]
        table = wandb.Table(columns=list(SAMPLE_COLUMNS), data=data)
        self._run.log({"samples": table, "step": step})

    def images(self, step: int, paths: Sequence[Path]) -> None:
        """Logs plots under the names of their files."""
        import wandb

        images = {f"plots/{path.stem}": wandb.Image(str(path)) for path in paths}
        self._run.log({**images, "step": step})

    def alert(self, step: int, title: str, text: str) -> None:
        """Sends an alert, which W&B forwards by mail or chat if configured."""
        self._run.alert(title=title, text=text, level="WARN")

    def summary(self, figures: dict[str, Any]) -> None:
        """Updates the run's summary."""
        self._run.summary.update(figures)

    def model(self, folder: Path) -> None:
        """Logs the student as an artifact; W&B reads its files where they are."""
        import wandb

        artifact = wandb.Artifact(f"student-{_id(self._shown.folder)}", type="model")
        artifact.add_dir(str(folder), policy="immutable")
        self._run.log_artifact(artifact)

    def finish(self) -> None:
        """Ends the W&B run."""
        self._run.finish()

    def give_up(self, hangs: bool) -> None:
        """Ends W&B's service, for which the end of the process would wait."""
        self._given_up = True
        if hangs:
            _kill_service()
        else:
            _end_service()

    def _started(self) -> Any:
        import wandb

        shown, mode = self._shown, self._shown.settings.mode
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            shown.note(
                "W&B: no key found; run `wandb login` (or set WANDB_API_KEY) to go online. "
                f"{self._offline()}"
            )
            mode = "offline"
        if mode == "online":
            try:
                return self._init("online")
            except Exception as error:  # no network, a wrong key, no permission for the project
                if self._given_up:
                    raise
                reason = str(error).partition("\n")[0]
                shown.warn(f"W&B could not go online ({reason}). {self._offline()}")
                _end_service()  # it still holds the run's id
        return self._init("offline")

    def _offline(self) -> str:
        where = f"{self._shown.folder}/wandb/offline-*"
        return f"Logging offline; upload it later with: wandb sync {where}"

    def _init(self, mode: Any) -> Any:
        import wandb

        shown, settings = self._shown, self._shown.settings
        self.finish_s = FINISH_S[mode]
        # Without `resume`, the rows of this start replace those that W&B has of this id.
        return wandb.init(
            entity=settings.entity, project=settings.project, group=settings.group,
            job_type="train", name=shown.name, tags=settings.tags, id=_id(shown.folder), mode=mode,
            config={**shown.config, "environment": shown.environment()},
            dir=shown.folder.absolute(), settings=wandb.Settings(console="off"),
        )  # fmt: skip


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
    path = folder / WANDB_ID
    if not path.is_file():
        path.write_text(f"{secrets.token_hex(4)}\n")
    return path.read_text().strip()
