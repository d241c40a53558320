"""Mirrors a run's files to W&B; a failure of W&B never stops the run."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from esr_cli.config import TrackingConfig

ID = "wandb_id"


class Mirror:
    """One W&B run for all starts of an esr run, identified by the id in the run folder.

    `note` and `warn` take a line for the terminal. The x-axis is esr's own `step`, so that resumed
    runs and late evaluations are placed correctly.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], settings: TrackingConfig, tags: Sequence[str],
        note: Callable[[str], None], warn: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._note, self._warn = note, warn
        self._run = self._open(folder, config, settings, tags)

    def log(self, step: int, figures: dict[str, Any]) -> None:
        """Logs the metrics of a step."""
        self._do(lambda run: run.log({**figures, "step": step}))

    def table(self, step: int, name: str, columns: Sequence[str], rows: list[list[Any]]) -> None:
        """Logs rows as a table."""

        def send(run: Any) -> None:
            import wandb

            run.log({name: wandb.Table(columns=list(columns), data=rows), "step": step})

        self._do(send)

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
        """Finishes the W&B run."""
        self._do(lambda run: run.finish())
        self._run = None

    def _open(
        self, folder: Path, config: dict[str, Any], settings: TrackingConfig, tags: Sequence[str]
    ) -> Any:
        if settings.mode == "disabled":
            return None
        os.environ.setdefault("WANDB_SILENT", "true")
        try:
            import wandb

            mode: Any = settings.mode
            if mode == "online" and not wandb.api.api_key:
                self._note(
                    "W&B: no key found; run `wandb login` (or set WANDB_API_KEY) to go online. "
                    f"Logging offline; upload it later with: wandb sync {folder}/wandb/offline-*"
                )
                mode = "offline"
            run = wandb.init(
                entity=settings.entity, project=settings.project, group=settings.group,
                name=settings.name or "/".join(folder.absolute().parts[-2:]),
                tags=[*tags, *settings.tags], id=_id(folder), resume="allow", mode=mode,
                config=config, dir=folder.absolute(),
                settings=wandb.Settings(
                    console="off", x_disable_stats=True, x_disable_meta=True,
                    x_save_requirements=False,
                ),
            )  # fmt: skip
            run.define_metric("step")
            run.define_metric("*", step_metric="step")
            return run
        except Exception as error:  # W&B must not stop a run, whatever fails
            self._warn(f"W&B could not start ({error}); metrics.jsonl holds everything")
            return None

    def _do(self, action: Callable[[Any], Any]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:  # likewise
            self._run = None
            self._warn(f"W&B stopped ({error}); metrics.jsonl holds everything")


def _id(folder: Path) -> str:
    path = folder / ID
    if not path.is_file():
        path.write_text(f"{secrets.token_hex(4)}\n")
    return path.read_text().strip()
