"""`esr reproduce`: the paper's tables and figures from their cells, and the report on them.

It can be stopped at any moment, by whatever means, and goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from esr_cli.base import files
from esr_cli.config import ConfigError, MatrixConfig, ReportConfig, ReproduceConfig
from esr_cli.execution import jobs
from esr_cli.report import command as report
from esr_cli.reproduce import matrix
from esr_cli.reproduce.matrix import BEGUN, COMPLETE, FAILED, Cell
from esr_cli.runs import folder as run_folder

MATRICES = "experiment/paper"
# In `out`: what all that is made there has in common.
KEPT = "reproduction.json"
COLUMNS = {
    "cell": 26, "pair": 27, "task": 5, "tuning": 8, "loss": 22, "N": 12, "seeds": 6, "state": 14,
    "expected": 12,
}  # fmt: skip
# Where the first so many cells all fail for one reason, the rest is left: what they lack, all lack.
HOPELESS = 3
# The paper trained on one card of 48 GB.
PAPER_GIB = 40


def run(config: ReproduceConfig, overrides: list[str]) -> None:
    """Runs what is missing and reports; raises RuntimeError where a cell failed."""
    scale = _scale() if config.scale == "auto" else config.scale
    chosen = matrix.read(files.conf_dir() / MATRICES / f"{scale}.yaml")
    quick = "-quick" if config.quick else ""
    out = Path(config.out or f"runs/reproduce-{scale}{quick}")
    cells = matrix.cells(chosen, config, out)
    told = {"scale": scale, "overrides": config.overrides}
    _refuse_others(out, told, cells)
    gpus = _gpus_gib() if any(cell.gib for cell in cells) else []
    # Two cards can share a cell; what does not fit them then, its own check refuses.
    left = matrix.too_large(cells, gpus[0]) if len(gpus) == 1 else []
    if left:
        largest = {f"{cell.arm} ({cell.gib:.0f} GiB)": None for cell in left if cell.gib}
        print(f"left out, too large for a GPU of {gpus[0]:.0f} GiB: {', '.join(largest)}")
        cells = [cell for cell in cells if cell not in left]
    if config.list:
        _list(chosen, cells, f"{scale}: {chosen.about}")
        return
    with run_folder.lock(out, "out"):
        files.write_json(out / KEPT, told)
        try:
            failed = Runner(cells, config.jobs or chosen.jobs, chosen.threads).run()
        except KeyboardInterrupt:
            print("the same command goes on where this one stopped", flush=True)
            raise
        title = f"arXiv 2605.27028 at the scale of the {scale}"
        if any(cell.complete for cell in cells if cell.command == "train"):
            report.run(ReportConfig(runs=str(out), title=title), [])
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {_cells(len(cells))} failed ({', '.join(failed)}); the "
            "same command tries them again"
        )


def _refuse_others(out: Path, told: dict[str, Any], cells: Sequence[Cell]) -> None:
    """Raises `ConfigError` where `out` holds what was made with other settings."""
    before = files.read_json(out / KEPT) if (out / KEPT).is_file() else told
    other = [key for key in told if before.get(key) != told[key]]
    if other:
        asked, made = _plain(told[other[0]]), _plain(before.get(other[0]))
        raise ConfigError(
            f"{other[0]}={asked}: {out} was made with {made or 'none'}; choose another out"
        )
    for cell in cells:
        if cell.noted().get("asked", cell.asked) != cell.asked:
            raise ConfigError(
                f"out={out}: {cell.id} was made there with other settings; choose another"
            )


def _plain(value: Any) -> str:
    return f"[{','.join(value)}]" if isinstance(value, list) else str(value)


class Runner:
    """Runs cells as soon as what they need is there, so many side by side."""

    def __init__(self, cells: Sequence[Cell], side_by_side: int, threads: int | None) -> None:
        self.cells, self.side_by_side, self.threads = cells, side_by_side, threads
        self.failed: dict[str, str] = {}
        self._reasons: list[str] = []
        self._width = max(len(cell.id) for cell in cells)
        self._spent, self._expected = 0.0, 0.0

    def run(self) -> list[str]:
        """Runs what is not complete; gives the ids of those that failed."""
        owed = [cell for cell in self.cells if not cell.complete]
        told = [f"{_cells(len(self.cells))}, {len(self.cells) - len(owed)} complete"]
        print("; ".join(filter(None, [*told, self._left(owed)])), flush=True)
        with jobs.interrupted(), ThreadPoolExecutor(self.side_by_side) as pool:
            self._run([cell for cell in owed if not cell.alone], self.side_by_side, pool)
            if not self._hopeless:
                self._run([cell for cell in owed if cell.alone], 1, pool)
        return list(self.failed)

    def _run(self, owed: list[Cell], most: int, pool: ThreadPoolExecutor) -> None:
        running: dict[Future[jobs.Ended], Cell] = {}
        while owed or running:
            for cell in self._ready(owed)[: most - len(running)]:
                owed.remove(cell)
                files.write_json(_made(cell.note), {"asked": cell.asked, "state": BEGUN})
                running[pool.submit(self._one, cell)] = cell
            if not running:
                # What is left needs cells that failed.
                for cell in owed:
                    self._note(cell, jobs.Ended(1, 0.0, f"needs {', '.join(cell.needs)}"), [])
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                self._note(cell, future.result(), [*owed, *running.values()])
            if self._hopeless and owed:
                print(f"the first {HOPELESS} cells failed for one reason; the others are left")
                owed.clear()

    @property
    def _hopeless(self) -> bool:
        # One that succeeded shows that the others may, too.
        told = set(self._reasons)
        return len(self._reasons) >= HOPELESS and len(told) == 1 and "" not in told

    def _ready(self, owed: list[Cell]) -> list[Cell]:
        done = {cell.id for cell in self.cells if cell.complete}
        return [cell for cell in owed if done.issuperset(cell.needs)]

    def _one(self, cell: Cell) -> jobs.Ended:
        log, arguments = cell.note.with_suffix(".log"), list(cell.arguments)
        if cell.run and cell.command == "train":
            # A run that ended just before its note could be written.
            if (cell.run / "summary.json").is_file():
                return jobs.Ended(0, 0.0)
            here = jobs.text(str(cell.run))
            resumes = files.latest(cell.run) is not None
            arguments = [f"resume={here}"] if resumes else [*arguments, f"run_dir={here}"]
        try:
            return jobs.run(cell.command, arguments, log, None if cell.alone else self.threads)
        except OSError as error:
            return jobs.Ended(1, 0.0, str(error))

    def _note(self, cell: Cell, ended: jobs.Ended, owed: list[Cell]) -> None:
        state = FAILED if ended.status else COMPLETE
        told = {"asked": cell.asked, "state": state, "seconds": round(ended.seconds, 1)}
        files.write_json(_made(cell.note), told | {"reason": ended.reason})
        self._reasons.append(ended.reason)
        if ended.status:
            self.failed[cell.id] = ended.reason
        self._spent += ended.seconds
        self._expected += cell.seconds
        done = sum(each.complete for each in self.cells)
        accuracy = _accuracy(cell) if state == COMPLETE else ended.reason
        print(
            f"[{done}/{len(self.cells)}] {cell.id:<{self._width}}  {ended.seconds:4.0f} s  "
            f"{state:<8}  {accuracy:<14}  {self._left(owed)}", flush=True,
        )  # fmt: skip

    def _left(self, owed: Sequence[Cell]) -> str:
        """The time expected, by what the cells so far took of theirs."""
        pace = self._spent / self._expected if self._expected else 1.0
        seconds = sum(
            cell.seconds / (1 if cell.alone else self.side_by_side) for cell in owed
        )  # fmt: skip
        return f"about {_span(pace * seconds)} left" if owed else ""


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _made(note: Path) -> Path:
    note.parent.mkdir(parents=True, exist_ok=True)
    return note


def _accuracy(cell: Cell) -> str:
    # Runs for their timings answer hardly any question.
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
    console = Console(markup=False, highlight=False)
    console.width = max(console.width, 160)
    print(f"{title}\n")
    for name, item in chosen.items.items():
        own = dict.fromkeys(cell.arm for cell in cells if cell.arm.split("@")[0] in item.cells)
        if not own:
            continue
        table = Table(title=f"{name}: {item.title}", title_justify="left", box=box.SIMPLE)
        for heading, width in COLUMNS.items():
            table.add_column(heading, width=width)
        for arm in own:
            table.add_row(*_row(chosen, [cell for cell in cells if cell.arm == arm]))
        console.print(table)
    owed = [cell for cell in cells if not cell.complete]
    print(
        f"{_cells(len(cells))}, {len(cells) - len(owed)} complete; "
        f"{_span(sum(cell.seconds for cell in owed))} expected, one after another"
    )


def _row(chosen: MatrixConfig, cells: list[Cell]) -> list[str]:
    first = cells[0]
    seeds = ",".join(str(cell.seed) for cell in cells if cell.seed is not None)
    states = Counter(cell.state for cell in cells)
    state = ", ".join(f"{n} {said}" if len(cells) > 1 else said for said, n in states.items())
    cost = f"{len(cells)} x {_span(first.seconds)}" if len(cells) > 1 else _span(first.seconds)
    if first.command == "train":
        sets = matrix.arguments_as(chosen.cells[first.arm], chosen)
        keys = (
            "pair.name" if "pair.name" in sets else "pair",
            "task",
            "tune",
            "loss",
            "rollout_len",
        )
        what = [sets.get(key, "") for key in keys]
        if "lengths" in sets:
            what[-1] += f" ({sets['lengths']})"
    else:
        what = [f"esr {first.command}", "", "", "", ""]
    return [first.arm, *what, seeds, state, cost]


def _scale() -> str:
    """`paper` where there is a GPU of the size that the paper trained on."""
    return "paper" if max(_gpus_gib(), default=0) >= PAPER_GIB else "lab"


def _gpus_gib() -> list[float]:
    import torch

    properties = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    return [each.total_memory / 2**30 for each in properties]
