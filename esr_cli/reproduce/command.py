"""`esr reproduce`: runs the cells of the paper's tables and figures, and reports on them.

It can be stopped or killed at any moment and resumes where it stopped.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from esr_cli.base import files, terminal
from esr_cli.base.failures import Failure
from esr_cli.config import ConfigError, MatrixConfig, ReportConfig, ReproduceConfig
from esr_cli.execution import jobs
from esr_cli.report import command as report
from esr_cli.reproduce import matrix
from esr_cli.reproduce.matrix import BEGUN, COMPLETE, FAILED, Cell
from esr_cli.runs import folder as run_folder
from esr_cli.runs import saved

MATRICES = "experiment/paper"
# In `out`: the settings shared by all cells there.
SETTINGS_FILE = "reproduction.json"
COLUMNS = {
    "cell": 26, "pair": 28, "task": 5, "tuning": 12, "loss": 22, "N": 12, "seeds": 13, "state": 14,
    "expected": 12,
}  # fmt: skip
# If the first cells, this many, all fail for the same reason, the others are skipped: they would
# fail, too.
MAX_SAME_FAILURES = 3
# The paper trained on one GPU of 48 GB.
PAPER_GIB = 40


def run(config: ReproduceConfig, overrides: list[str]) -> None:
    """Runs the incomplete cells and reports; raises `Failure` if a cell failed."""
    scale = _scale() if config.scale == "auto" else config.scale
    chosen = matrix.read(files.conf_dir() / MATRICES / f"{scale}.yaml")
    quick = "-quick" if config.quick else ""
    out = Path(config.run_dir or f"runs/reproduce-{scale}{quick}")
    cells = matrix.cells(chosen, config, out)
    settings = {"scale": scale, "overrides": config.overrides}
    _refuse_other_settings(out, settings, cells)
    gpus = _gpus_gib() if any(cell.gib for cell in cells) else []
    # With several GPUs a cell may be split over them; then its own check decides if it fits.
    excluded = matrix.too_large(cells, gpus[0]) if len(gpus) == 1 else []
    if excluded:
        largest = {
            f"{cell.configuration} ({cell.gib:.0f} GiB)": None for cell in excluded if cell.gib
        }
        print(f"left out, too large for a GPU of {gpus[0]:.0f} GiB: {', '.join(largest)}")
        cells = [cell for cell in cells if cell not in excluded]
    if config.list:
        _list(chosen, cells, f"{scale}: {chosen.about}")
        return
    with run_folder.lock(out, "run_dir"):
        # The last two are for readers of the folder; a population may grow.
        asked = {"command": shlex.join(["esr", "reproduce", *overrides]), "cells": len(cells)}
        files.write_json(out / SETTINGS_FILE, settings | asked)
        try:
            failed = Runner(cells, config.jobs or chosen.jobs, chosen.threads).run()
        except KeyboardInterrupt:
            print("the same command resumes where this one stopped", flush=True)
            raise
        if any(cell.complete for cell in cells if cell.command == "train"):
            report.run(ReportConfig(runs=str(out), title=chosen.title), [])
    if failed:
        raise Failure(
            f"{len(failed)} of {_cells(len(cells))} failed ({', '.join(failed)}); the "
            "same command retries them"
        )


def _refuse_other_settings(out: Path, settings: dict[str, Any], cells: Sequence[Cell]) -> None:
    """Raises `ConfigError` if `out` holds cells that were made with other settings."""
    path = out / SETTINGS_FILE
    saved = files.read_json(path) if path.is_file() else settings
    other = [key for key in settings if saved.get(key) != settings[key]]
    if other:
        asked, made = _plain(settings[other[0]]), _plain(saved.get(other[0]))
        raise ConfigError(
            f"{other[0]}={asked}: {out} was made with {made or 'none'}; choose another run_dir"
        )
    for cell in cells:
        if cell.record().get("asked", cell.settings_hash) != cell.settings_hash:
            raise ConfigError(f"run_dir={out}: holds {cell.id} with other settings; choose another")


def _plain(value: Any) -> str:
    return f"[{','.join(value)}]" if isinstance(value, list) else str(value)


class Runner:
    """Runs each cell once the cells it needs are complete, up to `parallel` at a time."""

    def __init__(self, cells: Sequence[Cell], parallel: int, threads: int | None) -> None:
        self.cells, self.parallel, self.threads = cells, parallel, threads
        self.failed: dict[str, str] = {}
        self._reasons: list[str] = []
        self._width = max(len(cell.id) for cell in cells)
        self._spent, self._expected = 0.0, 0.0

    def run(self) -> list[str]:
        """Runs the incomplete cells; returns the ids of those that failed."""
        pending = [cell for cell in self.cells if not cell.complete]
        counts = f"{_cells(len(self.cells))}, {len(self.cells) - len(pending)} complete"
        print("; ".join(filter(None, [counts, self._time_left(pending)])), flush=True)
        with jobs.interrupted(), ThreadPoolExecutor(self.parallel) as pool:
            for cells, limit in self.phases(pending):
                if self._hopeless and cells:
                    self._say_hopeless()
                    break
                self._run(cells, limit, pool)
        return list(self.failed)

    def _say_hopeless(self) -> None:
        reason = "cells failed for the same reason; skipping the others"
        print(f"the first {MAX_SAME_FAILURES} {reason}")

    def phases(self, pending: Sequence[Cell]) -> list[tuple[list[Cell], int]]:
        """The cells in the order of their phases, each with the number that run at a time.

        First those of `esr lab`, which trains several models at a time itself; timings last.
        """
        labs = [cell for cell in pending if cell.command == "lab"]
        timings = [cell for cell in pending if cell.alone and cell not in labs]
        others = [cell for cell in pending if cell not in (*labs, *timings)]
        return [(labs, 1), (others, self.parallel), (timings, 1)]

    def _run(self, pending: list[Cell], limit: int, pool: ThreadPoolExecutor) -> None:
        running: dict[Future[jobs.Ended], Cell] = {}
        while pending or running:
            for cell in self._ready(pending)[: limit - len(running)]:
                pending.remove(cell)
                _write_record(cell, {"state": BEGUN})
                running[pool.submit(self._execute, cell)] = cell
            if not running:
                # The remaining cells need cells that failed.
                for cell in pending:
                    self._finish(cell, jobs.Ended(1, 0.0, f"needs {', '.join(cell.needs)}"))
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                self._finish(cell, future.result())
            if self._hopeless and pending:
                self._say_hopeless()
                pending.clear()

    @property
    def _hopeless(self) -> bool:
        # After a success the others may succeed, too.
        distinct = set(self._reasons)
        return len(self._reasons) >= MAX_SAME_FAILURES and len(distinct) == 1 and "" not in distinct

    def _ready(self, pending: list[Cell]) -> list[Cell]:
        done = {cell.id for cell in self.cells if cell.complete}
        return [cell for cell in pending if done.issuperset(cell.needs)]

    def _execute(self, cell: Cell) -> jobs.Ended:
        log, arguments = cell.record_file.with_suffix(".log"), list(cell.arguments)
        if cell.run and cell.command == "train":
            # A run may have ended just before its record could be written.
            if (cell.run / "summary.json").is_file():
                return jobs.Ended(0, 0.0)
            folder = jobs.text(str(cell.run))
            resumes = files.latest(cell.run) is not None
            again = [f"resume={folder}", *saved.typed_only(arguments)]
            arguments = again if resumes else [*arguments, f"run_dir={folder}"]
        try:
            return jobs.run(cell.command, arguments, log, None if cell.alone else self.threads)
        except OSError as error:
            return jobs.Ended(1, 0.0, str(error))

    def _finish(self, cell: Cell, ended: jobs.Ended) -> None:
        state = FAILED if ended.status else COMPLETE
        seconds = round(ended.seconds, 1)
        _write_record(cell, {"state": state, "seconds": seconds, "reason": ended.reason})
        self._reasons.append(ended.reason)
        if ended.status:
            self.failed[cell.id] = ended.reason
        # Models that are in the cache take no time, and what failed says nothing.
        if state == COMPLETE and ended.seconds and cell.command != "lab":
            self._spent += ended.seconds
            self._expected += cell.seconds
        open_cells = [each for each in self.cells if not each.complete]
        done = len(self.cells) - len(open_cells)
        left = self._time_left([each for each in open_cells if each.id not in self.failed])
        outcome = _accuracy(cell) if state == COMPLETE else ended.reason
        print(
            f"[{done}/{len(self.cells)}] {cell.id:<{self._width}}  {ended.seconds:4.0f} s  "
            f"{state:<8}  {outcome:<14}  {left}", flush=True,
        )  # fmt: skip

    def _time_left(self, pending: Sequence[Cell]) -> str:
        """The estimated time left, scaled by actual over expected time of the runs so far."""
        pace = self._spent / self._expected if self._expected else 1.0
        seconds = sum(
            cell.seconds / limit for cells, limit in self.phases(pending) for cell in cells
        )
        return f"about {_span(pace * seconds)} left" if pending else ""


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _write_record(cell: Cell, fields: dict[str, Any]) -> None:
    cell.record_file.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(cell.record_file, {"asked": cell.settings_hash, **fields})


def _accuracy(cell: Cell) -> str:
    # Timing runs evaluate too few questions to show an accuracy.
    if cell.run is None or cell.command != "train" or cell.alone:
        return ""
    summary = files.read_json(cell.run / "summary.json")
    rows = [next(iter(summary[when].values())) for when in ("before", "after")]
    return " -> ".join(f"{row['value']:.3f}" for row in rows)


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _list(chosen: MatrixConfig, cells: Sequence[Cell], title: str) -> None:
    console = terminal.console()
    console.width = max(console.width, 172)
    print(f"{title}\n")
    for name, item in chosen.items.items():
        names = dict.fromkeys(
            cell.configuration for cell in cells if cell.configuration.split("@")[0] in item.cells
        )
        if not names:
            continue
        table = Table(title=f"{name}: {item.title}", title_justify="left", box=box.SIMPLE)
        for heading, width in COLUMNS.items():
            table.add_column(heading, width=width)
        for configuration in names:
            same = [cell for cell in cells if cell.configuration == configuration]
            table.add_row(*_row(chosen, same))
        console.print(table)
    pending = [cell for cell in cells if not cell.complete]
    print(
        f"{_cells(len(cells))}, {len(cells) - len(pending)} complete; "
        f"{_span(sum(cell.seconds for cell in pending))} expected, one after another"
    )


def _row(chosen: MatrixConfig, cells: list[Cell]) -> list[str]:
    first = cells[0]
    seeds = ",".join(dict.fromkeys(str(cell.seed) for cell in cells if cell.seed is not None))
    if students := {cell.student for cell in cells if cell.student}:
        seeds = f"{len(students)} students" + (f" x {seeds}" if "," in seeds else "")
    states = Counter(cell.state for cell in cells)
    state = ", ".join(f"{n} {name}" if len(cells) > 1 else name for name, n in states.items())
    cost = f"{len(cells)} x {_span(first.seconds)}" if len(cells) > 1 else _span(first.seconds)
    if first.command == "train":
        given = matrix.arguments_as(chosen.cells[first.configuration], chosen)
        keys = (
            "pair.name" if "pair.name" in given else "pair",
            "task",
            "tune",
            "loss",
            "rollout_len",
        )
        columns = [given.get(key, "") for key in keys]
        if "lengths" in given:
            columns[-1] += f" ({given['lengths']})"
    else:
        columns = [f"esr {first.command}", "", "", "", ""]
    return [first.configuration, *columns, seeds, state, cost]


def _scale() -> str:
    """`paper` if there is a GPU as large as the one that the paper trained on, else `lab`."""
    return "paper" if max(_gpus_gib(), default=0) >= PAPER_GIB else "lab"


def _gpus_gib() -> list[float]:
    import torch

    gpus = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    return [each.total_memory / 2**30 for each in gpus]
