"""The run in W&B: a mirror of its files, which may fall but never stops a run."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from esr_cli.config import TrackingConfig

ID = "wandb_id"


class Mirror:
    """One W&B run for all starts of an esr run, found again by the id in the run folder.

    `note` and `warn` take a line for the terminal. Steps are esr's own (`step`), so that a run that
    goes on, or an evaluation that is told late, falls into its place.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], settings: TrackingConfig, tags: Sequence[str],
        note: Callable[[str], None], warn: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._note, self._warn = note, warn
        self._run = self._open(folder, config, settings, tags)

    def log(self, step: int, figures: dict[str, Any]) -> None:
        """Figures of a step."""
        self._do(lambda run: run.log({**figures, "step": step}))

    def table(self, step: int, name: str, columns: Sequence[str], rows: list[list[Any]]) -> None:
        """Rows to look at."""

        def send(run: Any) -> None:
            import wandb

            run.log({name: wandb.Table(columns=list(columns), data=rows), "step": step})

        self._do(send)

    def pictures(self, step: int, paths: Sequence[Path]) -> None:
        """Drawn figures, by the names of their files."""

        def send(run: Any) -> None:
            import wandb

            shown = {f"plots/{path.stem}": wandb.Image(str(path)) for path in paths}
            run.log({**shown, "step": step})

        self._do(send)

    def alert(self, title: str, text: str) -> None:
        """A warning that W&B hands on by mail or chat where its owner wants that."""
        self._do(lambda run: run.alert(title=title, text=text, level="WARN"))

    def summary(self, figures: dict[str, Any]) -> None:
        """The outcome, a figure a key."""
        self._do(lambda run: run.summary.update(figures))

    def close(self) -> None:
        """Writes what is left."""
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
                    f"Logging offline; send it later with: wandb sync {folder}/wandb/offline-*"
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
        except Exception as error:  # a mirror that cannot be hung must not stop a run
            self._warn(f"W&B could not start ({error}); metrics.jsonl holds everything")
            return None

    def _do(self, action: Callable[[Any], Any]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:  # nor may one that falls off the wall
            self._run = None
            self._warn(f"W&B stopped ({error}); metrics.jsonl holds everything")


def _id(folder: Path) -> str:
    path = folder / ID
    if not path.is_file():
        path.write_text(f"{secrets.token_hex(4)}\n")
    return path.read_text().strip()
