"""What a run resumes from, and how one that failed goes on."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr_cli.base import files, terminal
from esr_cli.base.failures import Failure, Resumable, summary
from esr_cli.base.words import counted
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.execution.team import TeamError
from esr_cli.runs import folder as run_folder
from esr_cli.runs import saved as saved_settings
from esr_cli.student import snapshot
from esr_cli.student.student import WeightsError


class SkippedError(Failure):
    """Steps were skipped because a loss or gradient was not finite."""


class Stopped(Failure):
    """A run that the user ended, and nothing in it."""


class WatchStop(Failure):
    """An alarm of the watch ends the run, as `watch.stop` asks; it is on watches since a step."""

    def __init__(self, text: str, since: int) -> None:
        super().__init__(f"stopped by watch.stop: {text}")
        self.since = since


@dataclass(frozen=True)
class Saved:
    """The checkpoint that a run resumes from, its state, and what to tell the user about it."""

    checkpoint: Path
    state: dict[str, Any]
    notes: list[str]

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.checkpoint.parent.parent

    @property
    def step(self) -> int:
        """The number of completed steps."""
        return files.step_of(self.checkpoint)


def reopen(config: TrainConfig, overrides: list[str]) -> tuple[TrainConfig, Saved]:
    """The configuration of `resume=`, and its last whole checkpoint; the folder is locked."""
    folder = Path(str(config.resume))
    config = run_folder.reopen(config, overrides)
    last, state, damaged = snapshot.last_whole(folder)
    if last is None:
        raise ConfigError(f"resume={folder}: no checkpoint can be read ({'; '.join(damaged)})")
    notes = [*damaged, f"resuming from {last.name}"] if damaged else []
    horizon = state.get("total_steps", config.steps)
    if config.tune.follows_steps and horizon != config.steps:
        notes.append(_rate_changed(config, files.step_of(last), horizon))
    return config, Saved(last, state, notes)


def complete(config: TrainConfig, overrides: list[str], saved: Saved) -> str:
    """The line on a run that has nothing left to do; empty if it has.

    A tracker that is typed gets all records of a complete run.
    """
    folder = saved.folder
    ended = saved.step == config.steps and (folder / "summary.json").is_file()
    tracked = any(each.lstrip("+~").startswith("tracking") for each in overrides)
    if not ended or tracked or not (folder / "student").is_dir():
        return ""
    again = f"esr train resume={shlex.quote(str(folder))} steps=…"
    return (
        f"resume={folder}: the run is complete (step {saved.step} of {config.steps}); larger steps "
        f"continue it: {again}"
    )


def _rate_changed(config: TrainConfig, at: int, horizon: int) -> str:
    """What more steps than `horizon` do to the learning rate after `at` steps."""
    tune, steps = config.tune, config.steps
    ends = f"tune.schedule={tune.schedule} now ends at step {steps}, not {horizon}"
    warms = f"tune.warmup_share={tune.warmup_share:g} is {counted(tune.warmup(steps), 'step')} now"
    changes = [ends] if tune.schedule != "constant" else []
    changes += [f"{warms}, not {tune.warmup(horizon)}"] if tune.warmup_share else []
    now, before = tune.rate(at, steps), tune.rate(at, horizon)
    text = f"the learning rate goes on at {now:.2g} instead of {before:.2g}"
    return f"{' and '.join(changes)}: {text}"


def warnings(saved: Saved, data: str) -> list[str]:
    """The notes on a saved run, and whether the training data, of fingerprint `data`, changed."""
    if saved.state.get("data", data) == data:
        return saved.notes
    return [
        *saved.notes,
        "the training prompts are not those of the saved run (data files, chat template or "
        "tokenizer changed): what follows is another run than the one that was stopped",
    ]


class RankDied(Resumable):
    """A rank died in a run with a checkpoint in `folder`; `line` is how it died.

    Such a run may be resumed `restarts` times.
    """

    def __init__(self, text: str, folder: Path, line: str, restarts: int) -> None:
        super().__init__(text)
        self.folder, self.line, self.restarts = folder, line, restarts


def cause(error: Exception | KeyboardInterrupt) -> Exception:
    """The error that ended a run, or how the user did."""
    if isinstance(error, KeyboardInterrupt):
        return Stopped("interrupted")
    if isinstance(error, BrokenPipeError) and terminal.is_closed():
        return Stopped("nobody reads the output any more")
    return error


def resumable(config: TrainConfig, folder: Path, error: BaseException) -> Resumable:
    """What to raise for an error after the start of a run: how the run in `folder` goes on."""
    how = how_to(config, folder, error)
    death: BaseException | None = error
    while death and not isinstance(death, TeamError):
        # A rank may have died while a folder was written.
        death = death.__cause__
    if death and files.latest(folder):
        return RankDied(how, folder, summary(death), config.execution.restarts)
    return Resumable(how)


def how_to(config: TrainConfig, folder: Path, error: BaseException) -> str:
    """How a run in `folder` that ended with an error is resumed."""
    last = files.latest(folder)
    if last is None and isinstance(error, WatchStop):
        return (
            f"no checkpoint was saved yet (the folder is {folder}); start again with another "
            "length, or with watch.stop=false"
        )
    if last is None:
        return f"no checkpoint was saved yet; start again (the folder is {folder})"
    resume = " ".join([f"esr train resume={folder}", *saved_settings.to_type(config)])
    if isinstance(error, WatchStop):
        return f"{_before(folder, error.since)}; {resume} watch.stop=false goes on from {last.name}"
    if isinstance(error, SkippedError | WeightsError):
        return (
            f"{last.name} is the last checkpoint with finite weights; {resume} repeats the steps "
            "after it, so start a new run with a lower tune.learning_rate, or mend the teacher"
        )
    return f"{last.name} is saved; go on with: {resume}"


def _before(folder: Path, step: int) -> str:
    """The last checkpoint at or before a step, and how it is evaluated."""
    earlier = [each.name for each in files.checkpoints(folder) if files.step_of(each) <= step]
    if not earlier:
        return f"no checkpoint from step {step} or before is kept (save_every, keep_checkpoints)"
    name = earlier[-1]
    return f"{name} is the last checkpoint before: esr eval run={folder} checkpoints=all grades it"
