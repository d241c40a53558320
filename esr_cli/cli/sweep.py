"""`-m`: every run of a sweep in a process of its own, a line for each and a table at the end.

Hydra says which runs there are and where they are launched (here or as SLURM jobs); each leaves its
outcome as a file in the sweep's folder, so that it does not matter where it ran.
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from esr_cli.base import files
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.execution import jobs
from esr_cli.runs import folder as run_folder

# What chooses the sweep, and what the sweep itself decides for each of its runs.
OF_THE_SWEEP = re.compile(r"\+*(sweep|cluster)=")
GIVEN = re.compile(r"\+*(run_dir|tracking\.group)=")
NOT_IN_NAME = re.compile(r"\+*(run_dir|cluster|data_dir|sandbox|tracking|execution|alarms)[.=]")
COMPLETE, BEFORE, FAILED = "complete", "complete before", "failed"
# What a launcher leaves of each job in the sweep's folder, named after the job's number.
LAUNCHED = ".submitit/[0-9]*"
# In the sweep's folder: the keys that take several values.
VARIED = "varied.json"


@dataclass(frozen=True)
class Outcome:
    """How a run of a sweep ended; `reason` says why it failed, `log` where it says more.

    `asked` are its overrides; `before` and `after` accuracies.
    """

    number: int
    asked: list[str]
    state: str
    log: str
    folder: str = ""
    before: float | None = None
    after: float | None = None
    seconds: float | None = None
    reason: str = ""


def folder_for(command: str, arguments: Sequence[str]) -> Path:
    """Where a sweep keeps its outcomes and logs: `<run_dir, or runs>/sweeps/<what is asked>`."""
    asked = [text for text in arguments if not text.startswith(("-", "hydra."))]
    above = next((text.split("=", 1)[1] for text in asked if text.startswith("run_dir=")), "runs")
    name = run_folder.name_of(asked, NOT_IN_NAME)
    return (
        Path(above.strip("'\"")) / "sweeps" / (name if command == "train" else f"{command}-{name}")
    )


def run_one(command: str, config: Any, overrides: list[str], number: int, sweep: Path) -> None:
    """One run of the sweep, in a process of its own; its outcome becomes a file in `sweep`.

    A training run that is complete is skipped, one that was cut off goes on.
    """
    overrides = [text for text in overrides if not OF_THE_SWEEP.match(text)]
    asked = [text for text in overrides if not GIVEN.match(text)]
    run = Outcome(number, asked, COMPLETE, str(sweep / f"{number:03d}.log"))
    try:
        if isinstance(config, ConfigError):
            raise config
        train = command == "train"
        outcome = _train(config, overrides, run, sweep) if train else _other(command, run)
    except (ConfigError, OSError, ValueError, LookupError) as error:
        # One folder that cannot be read or written stops no other run.
        outcome = replace(run, state=FAILED, reason=str(error) or type(error).__name__)
    files.write_json(sweep / f"{number:03d}.json", asdict(outcome))


def _other(command: str, run: Outcome) -> Outcome:
    ended = jobs.run(command, run.asked, Path(run.log))
    state = FAILED if ended.status else COMPLETE
    return replace(run, state=state, seconds=ended.seconds, reason=ended.reason)


def _train(config: TrainConfig, overrides: list[str], run: Outcome, sweep: Path) -> Outcome:
    folder = run_folder.in_sweep(config, overrides, json.loads((sweep / VARIED).read_text()))
    told = asdict(run) | {"folder": str(folder)}
    other = run_folder.difference(folder, config)
    if other:
        return Outcome(**told | {"state": FAILED, "reason": other})
    if (folder / "summary.json").is_file():
        return Outcome(**told | {"state": BEFORE} | _accuracies(folder))
    here, group = jobs.text(str(folder)), jobs.text(config.tracking.group or sweep.name)
    anew = [*run.asked, f"run_dir={here}", f"tracking.group={group}"]
    arguments = [f"resume={here}"] if files.latest(folder) else anew
    ended = jobs.run("train", arguments, Path(run.log))
    told |= {"seconds": ended.seconds, "reason": ended.reason}
    if ended.status or not (folder / "summary.json").is_file():
        return Outcome(**told | {"state": FAILED})
    return Outcome(**told | _accuracies(folder))


def _accuracies(folder: Path) -> dict[str, float]:
    """The headline of the first benchmark, before and after."""
    summary = files.read_json(folder / "summary.json")
    found = ((when, next(iter(summary[when].values()), None)) for when in ("before", "after"))
    return {when: row["value"] for when, row in found if row}


class Watch:
    """Tells each run on the terminal as soon as its outcome is there; the table when all are."""

    def __init__(self, sweep: Path, counts: Mapping[str, int]) -> None:
        """`counts` tells how many values each key takes; empty where that is not known."""
        self.sweep, self.total = sweep, math.prod(counts.values()) if counts else 0
        self._varied = {key for key, count in counts.items() if count > 1}
        self._told: set[int] = set()
        self._held = ExitStack()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._made = [each for each in self.sweep.parents if not each.exists()]
        # The same sweep twice at a time would take the outcomes of one for those of the other.
        self._held.enter_context(run_folder.lock(self.sweep))
        for old in (*self.sweep.glob("[0-9]*.json"), *self.sweep.glob("[0-9]*.log")):
            old.unlink()
        files.write_json(self.sweep / VARIED, sorted(self._varied))
        self._launched_before = set(self.sweep.glob(LAUNCHED))
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()
        self._held.close()
        if not self.outcomes() and not self._begun() and not self._launched():
            self._leave_nothing()

    def disown(self, here: bool) -> str:
        """After an interruption: has the jobs that run on this machine save and end, and waits for
        them; says which run elsewhere.
        """
        if not here:
            left = ", ".join(self._launched())
            return f"the jobs {left} go on (scancel ends them); " if left else ""
        for number in self._launched():
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGTERM)
        for number in self._launched():
            with suppress(ChildProcessError):
                os.waitpid(int(number), 0)
        return ""

    def outcomes(self) -> list[Outcome]:
        """What is known of the runs so far, in their order."""
        found = [json.loads(path.read_text()) for path in self.sweep.glob("[0-9]*.json")]
        return sorted((Outcome(**each) for each in found), key=lambda each: each.number)

    def conclude(self) -> int:
        """Prints the table; 1 where a run failed or never came to its turn, else 0.

        Where no run could begin, all for one reason, that reason alone is said; 2 then.
        """
        outcomes = self.outcomes()
        reasons = {each.reason for each in outcomes}
        begun = self._begun() or any(each.folder for each in outcomes)
        if len(reasons) == 1 and all(reasons) and not begun:
            self._leave_nothing()
            print(f"esr: {reasons.pop()}", file=sys.stderr)
            return 2
        self._tell()
        table = Table(title=str(self.sweep), title_justify="left")
        for heading in ("run", "before", "after", "seconds", "state"):
            table.add_column(heading, overflow="fold")
        for each in outcomes:
            numbers = (each.before, each.after)
            cells = ["" if value is None else f"{value:.3f}" for value in numbers]
            table.add_row(self._name(each), *cells, _time(each).removesuffix(" s"), _state(each))
        Console(markup=False, highlight=False).print(table)
        failed = [each for each in outcomes if each.state == FAILED]
        for each in failed:
            if Path(each.log).exists():
                print(f"{self._name(each)}: its log is {each.log}")
        missing = self.total > len(outcomes)
        if missing:
            print("not all runs came to their turn; the same command goes on")
        return 1 if failed or missing else 0

    def _leave_nothing(self) -> None:
        shutil.rmtree(self.sweep)
        for above in self._made:
            with suppress(OSError):  # something of another's stands in it
                above.rmdir()

    def _watch(self) -> None:
        # What cannot even begin says so in a line of its own.
        while not self._over.wait(0.2) and not self._begun():
            pass
        if self._begun():
            runs = f"{self.total} runs" if self.total else "a sweep"
            print(f"{runs}; what each prints is in {self.sweep}", flush=True)
        while not self._over.wait(0.2):
            self._tell()

    def _launched(self) -> list[str]:
        found = set(self.sweep.glob(LAUNCHED)) - self._launched_before
        return sorted({each.name for each in found if each.name.replace("_", "").isdigit()})

    def _begun(self) -> bool:
        return any(self.sweep.glob("[0-9]*.log"))

    def _tell(self) -> None:
        for each in self.outcomes():
            if each.number not in self._told:
                self._told.add(each.number)
                print(self._line(each), flush=True)

    def _name(self, run: Outcome) -> str:
        varied = [text for text in run.asked if text.split("=")[0] in self._varied]
        return " ".join(varied or run.asked)

    def _line(self, run: Outcome) -> str:
        place = f"[{run.number + 1}/{self.total}]" if self.total else f"[{run.number + 1}]"
        told = [place, self._name(run), _accuracy(run), _time(run), _state(run)]
        return "  ".join(part for part in told if part)


def _state(run: Outcome) -> str:
    return f"{run.state}: {run.reason}" if run.reason else run.state


def _accuracy(run: Outcome) -> str:
    if run.after is None:
        return ""
    return f"{run.before:.3f} -> {run.after:.3f}" if run.before is not None else f"{run.after:.3f}"


def _time(run: Outcome) -> str:
    return "" if run.seconds is None else f"{run.seconds:.0f} s"
