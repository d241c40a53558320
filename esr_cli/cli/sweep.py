"""`-m`: runs each run of a sweep in its own process, prints a line for each and a final table.

Hydra determines the runs and where they are launched (here or as SLURM jobs). Each run writes its
outcome to a file in the sweep's folder, so it does not matter where it ran.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from esr_cli.base import failures, files, terminal
from esr_cli.base.words import counted
from esr_cli.cli import swept
from esr_cli.cli.swept import COMPLETE, COMPLETE_BEFORE, FAILED, WOULD_START, Outcome
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.execution import jobs, slurm
from esr_cli.runs import folder as run_folder
from esr_cli.runs import labels, saved

# Overrides that define the sweep, and overrides that the sweep sets for each of its runs.
SWEEP_ONLY = re.compile(r"\+*(sweep|cluster)=")
SET_BY_SWEEP = re.compile(r"\+*(run_dir|tracking\.(group|name))=")
NOT_IN_NAME = re.compile(
    r"\+*(run_dir|cluster|data_dir|sandbox|tracking|execution|alarms|watch)[.=]"
)
# A launcher's folders in the sweep's folder, each named after the number of its job.
LAUNCHED = ".submitit/[0-9]*"
# The file in the sweep's folder that lists the keys with several values.
VARIED = "varied.json"


def folder_for(command: str, arguments: Sequence[str]) -> Path:
    """The folder of a sweep's outcomes and logs: `<run_dir, or runs>/sweeps/<overrides>`."""
    asked = [text for text in arguments if not text.startswith(("-", "hydra."))]
    parent = next((text.split("=", 1)[1] for text in asked if text.startswith("run_dir=")), "runs")
    name = run_folder.name_of(asked, NOT_IN_NAME)
    return (
        Path(parent.strip("'\"")) / "sweeps" / (name if command == "train" else f"{command}-{name}")
    )


def run_one(command: str, config: Any, overrides: list[str], number: int, sweep: Path) -> None:
    """Runs one run of the sweep in its own process; writes its outcome to a file in `sweep`.

    A complete training run is skipped; an interrupted one resumes. On several nodes of a SLURM job
    each task calls this, and all but the first only lend their node: they write no outcome.
    """
    overrides = [text for text in overrides if not SWEEP_ONLY.match(text)]
    run = _outcome(overrides, number, sweep)
    try:
        if isinstance(config, ConfigError):
            raise config
        if command != "train":
            outcome = _other(command, run)
        elif config.dry_run:
            outcome = _other(command, run, WOULD_START)
        else:
            outcome = _train(config, overrides, run, sweep)
    except ConfigError as error:
        outcome = replace(run, state=FAILED, reason=failures.one_line(str(error)))
    except Exception as error:
        # A folder that cannot be read or written must not stop the other runs.
        outcome = replace(run, state=FAILED, reason=failures.explain(error))
    task = slurm.task()
    if task is None or task.first:
        files.write_json(sweep / f"{number:03d}.json", asdict(outcome))
    elif outcome.reason:
        print(outcome.reason, file=sys.stderr)


def note_stopped(overrides: list[str], number: int, sweep: Path, why: str) -> None:
    """Writes the outcome of a run that was stopped and will not be queued again; `why` says why."""
    run = _outcome(overrides, number, sweep)
    reason = f"stopped: {failures.one_line(why)} The same command resumes it"
    outcome = replace(run, state=FAILED, reason=reason)
    files.write_json(sweep / f"{number:03d}.json", asdict(outcome))


def _outcome(overrides: list[str], number: int, sweep: Path) -> Outcome:
    """The outcome of a run that ends well."""
    asked = [
        text for text in overrides if not SWEEP_ONLY.match(text) and not SET_BY_SWEEP.match(text)
    ]
    return Outcome(number, asked, COMPLETE, str(sweep / f"{number:03d}.log"))


def _other(command: str, run: Outcome, well: str = COMPLETE) -> Outcome:
    ended = jobs.run(command, run.asked, Path(run.log))
    state = FAILED if ended.status else well
    return replace(run, state=state, seconds=ended.seconds, reason=ended.reason)


def _train(config: TrainConfig, overrides: list[str], run: Outcome, sweep: Path) -> Outcome:
    varied = json.loads((sweep / VARIED).read_text())
    folder = run_folder.in_sweep(config, overrides, varied)
    fields = asdict(run) | {"folder": str(folder)}
    difference = run_folder.difference(folder, config)
    if difference:
        return Outcome(**fields | {"state": FAILED, "reason": difference})
    if (folder / "summary.json").is_file():
        return Outcome(**fields | {"state": COMPLETE_BEFORE} | _accuracies(folder))
    shown = labels.in_sweep(config, overrides, varied, sweep.name).items()
    kept = dict.fromkeys([*saved.typed_only(run.asked), *run_folder.free_on_resume(run.asked)])
    again = [*kept, f"resume={jobs.text(str(folder))}"]
    arguments = again if files.latest(folder) else [*run.asked, f"run_dir={jobs.text(str(folder))}"]
    arguments += [f"tracking.{key}={jobs.text(value)}" for key, value in shown]
    ended = _ended(arguments, config, run, sweep)
    if ended is None:
        return run
    fields |= {"seconds": ended.seconds, "reason": ended.reason}
    if ended.status or not (folder / "summary.json").is_file():
        return Outcome(**fields | {"state": FAILED})
    return Outcome(**fields | _accuracies(folder))


def _ended(
    arguments: list[str], config: TrainConfig, run: Outcome, sweep: Path
) -> jobs.Ended | None:
    """Runs `esr train`, on Ray if the job has several nodes; None if this task is not the first."""
    task = slurm.task()
    if task is None:
        return jobs.run("train", arguments, Path(run.log))
    stem = sweep / f"{run.number:03d}"
    if not task.first:
        slurm.join(task, config.execution, stem)
        return None
    with slurm.head(task, config.execution, stem):
        joined = [*arguments, f"execution.address={task.address}"]
        return jobs.run("train", joined, Path(run.log))


def _accuracies(folder: Path) -> dict[str, float]:
    """The main metric of the first benchmark, before and after training."""
    summary = files.read_json(folder / "summary.json")
    rows = ((when, next(iter(summary[when].values()), None)) for when in ("before", "after"))
    return {when: row["value"] for when, row in rows if row}


class Watch:
    """Prints a line for each run as soon as its outcome is available, and a table at the end."""

    def __init__(self, sweep: Path, counts: Mapping[str, int], arguments: Sequence[str]) -> None:
        """`counts` maps each key to its number of values; it is empty if that is unknown.

        `arguments` are what was typed.
        """
        self.sweep, self.total = sweep, math.prod(counts.values()) if counts else 0
        self._varied = {key for key, count in counts.items() if count > 1}
        self._arguments = arguments
        self._printed: set[int] = set()
        self._lock = ExitStack()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._new_parents = [each for each in self.sweep.parents if not each.exists()]
        # Two instances of a sweep at the same time would mix up their outcomes.
        self._lock.enter_context(run_folder.lock(self.sweep))
        for old in (*self.sweep.glob("[0-9]*.json"), *self.sweep.glob("[0-9]*.log")):
            old.unlink()
        files.write_json(self.sweep / VARIED, sorted(self._varied))
        self._launched_before = set(self.sweep.glob(LAUNCHED))
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._done.set()
        self._thread.join()
        self._lock.close()
        if not self.outcomes() and not self._started() and not self._launched():
            self._remove_folder()

    def disown(self, local: bool) -> str:
        """Handles the launched jobs after an interruption.

        Local jobs are told to save and exit, and are waited for. For jobs elsewhere, returns a
        message that lists them.
        """
        if not local:
            remaining = ", ".join(self._launched())
            return f"the jobs {remaining} keep running (scancel ends them); " if remaining else ""
        for number in self._launched():
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGTERM)
        for number in self._launched():
            with suppress(ChildProcessError):
                os.waitpid(int(number), 0)
        return ""

    def outcomes(self) -> list[Outcome]:
        """The outcomes so far, in the order of the runs."""
        rows = [json.loads(path.read_text()) for path in self.sweep.glob("[0-9]*.json")]
        return sorted((Outcome(**each) for each in rows), key=lambda each: each.number)

    def conclude(self) -> int:
        """Prints the table; returns 1 if a run failed or did not start, else 0.

        If no run could start, all for the same reason, prints only that reason and returns 2.
        """
        outcomes = self.outcomes()
        reasons = {each.reason for each in outcomes}
        started = self._started() or any(each.folder for each in outcomes)
        if len(reasons) == 1 and all(reasons) and not started:
            self._remove_folder()
            print(f"esr: {reasons.pop()}", file=sys.stderr)
            return 2
        self._print_new()
        terminal.show(swept.table(str(self.sweep), outcomes, self._varied))
        failed = [each for each in outcomes if each.state == FAILED]
        for each in outcomes:
            if each.state in (FAILED, WOULD_START) and Path(each.log).exists():
                print(f"{swept.name(each, self._varied)}: its log is {each.log}")
        missing = self.total > len(outcomes)
        if missing:
            print("not all runs were started; the same command resumes the sweep")
        return 1 if failed or missing else 0

    def _remove_folder(self) -> None:
        shutil.rmtree(self.sweep)
        for parent in self._new_parents:
            with suppress(OSError):  # another process wrote to it
                parent.rmdir()

    def _watch(self) -> None:
        # A sweep that cannot start prints only its error.
        while not self._done.wait(0.2) and not self._started():
            pass
        if self._started():
            print(f"{self._count()}; their logs are in {self.sweep}", flush=True)
        while not self._done.wait(0.2):
            self._print_new()

    def _count(self) -> str:
        """How many runs there are, and why if that may surprise."""
        flag = {"-m", "--multirun"} & {*self._arguments}
        named = [each for each in self._arguments if each.startswith("+sweep=")]
        runs = counted(self.total, "run") if self.total else "a sweep"
        if flag and self.total == 1:
            return f"{runs}: no setting has several values, such as seed=0,1"
        return (
            f"{runs} ({named[0]} starts a sweep, also without -m)" if named and not flag else runs
        )

    def _launched(self) -> list[str]:
        folders = set(self.sweep.glob(LAUNCHED)) - self._launched_before
        return sorted({each.name for each in folders if each.name.replace("_", "").isdigit()})

    def _started(self) -> bool:
        return any(self.sweep.glob("[0-9]*.log"))

    def _print_new(self) -> None:
        for each in self.outcomes():
            if each.number not in self._printed:
                self._printed.add(each.number)
                print(swept.line(each, self._varied, self.total), flush=True)
