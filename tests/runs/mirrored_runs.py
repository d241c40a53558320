"""Starts of a run whose steps are given, for tests of its trackers."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from esr_cli.base import files
from esr_cli.config import TrackingConfig
from esr_cli.runs.folder import CUT_BACK
from esr_cli.runs.service import Service
from esr_cli.runs.tracking import Tracker

# trackio reads it on import. Runs of the tests do not belong among those of the user.
os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="esr-trackio-")
atexit.register(shutil.rmtree, os.environ["TRACKIO_DIR"], ignore_errors=True)

METRICS = {"train/loss": 0.5, "time/train_s": 0.25}
EVAL = {
    "step": 2, "benchmark": "lab", "metric": "avg@4", "value": 0.5, "low": 0.4, "high": 0.6, "n": 4,
}  # fmt: skip
RESPONSES = {
    "id": "a", "step": 2, "benchmark": "lab", "prompt": "why ?", "responses": ["so", "thus"],
    "correct": [True, False], "reason": ["right", "2, not 3"],
}  # fmt: skip


def start(
    folder: Path, settings: TrackingConfig, first: int, last: int, evaluated: Collection[int] = ()
) -> None:
    """One start of a run, which takes the steps `first` to `last`; its loss is 1 / step."""
    for name in CUT_BACK:
        if (folder / name).exists():
            files.truncate_jsonl(folder / name, first - 1)
    with Tracker(folder, {"seed": 7}, settings, total_steps=99, start=first - 1) as tracker:
        tracker.open_mirror()
        tracker.begin()
        for step in range(first, last + 1):
            tracker.log(step, METRICS | {"train/loss": 1 / step})
            if step in evaluated:
                row = {**EVAL, "step": step, "value": 1 / step}
                tracker.log_eval([row], [{**RESPONSES, "step": step}], 1.0)


def when_started(tracker: Tracker) -> Service:
    """The only tracker of an open mirror, once its thread has started it."""
    [connection] = tracker.mirror._connections
    until = time.monotonic() + 60
    while not connection._started and time.monotonic() < until:
        time.sleep(0.01)
    return connection._service


def offline(tracker: str, **settings: object) -> TrackingConfig:
    """The settings with one tracker, whose files stay on this machine."""
    mode = "offline" if tracker == "wandb" else "disabled"
    extra = {tracker: True} if tracker != "wandb" else {}
    return TrackingConfig(mode, **extra, **settings)


def once_each(history: list[tuple[int, float]]) -> dict[int, float]:
    """The loss by step; each step may be there once, in order."""
    assert [step for step, _ in history] == sorted({step for step, _ in history})
    return dict(history)
