"""What a report says, before it is set as a page or as Markdown."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from esr_cli.report import arm_tables, numbers, probe_tables, run_tables
from esr_cli.report.arms import Arm
from esr_cli.report.book import Book, Group
from esr_cli.report.claims import DOES_NOT, NOISY, SHOWS, UNMEASURED, Judged, judge, seeds, told
from esr_cli.report.facts import facts
from esr_cli.report.pictures import Picture, pictures
from esr_cli.report.probes import View, views
from esr_cli.report.tables import Cell, Row, Spec, Table, cell
from esr_cli.runs.record import Run

SHAPES: dict[str, Callable[[Book, Spec], Table | None]] = {
    "arms": arm_tables.arms, "steps": arm_tables.steps, **probe_tables.SHAPES, **run_tables.SHAPES,
}  # fmt: skip
VERDICTS = (SHOWS, DOES_NOT, NOISY, UNMEASURED)


@dataclass(frozen=True)
class Report:
    """Everything in the order of the page."""

    title: str
    summary: list[str]
    facts: list[tuple[str, str]]
    judged: list[Judged]
    pictures: list[Picture]
    arms: list[Table]
    probes: list[View]
    paper: list[Table]
    source: str
    runs: Table


def compose(book: Book, out: Path, title: str) -> Report:
    """Draws the figures below `out`, and puts the report together."""
    judged = judge(book)
    several = len(book.groups) > 1
    drawn = []
    for group in book.groups:
        prefix = _prefix(group, book.groups) if several else ""
        found = pictures(group, out / "figures", prefix)
        named = f" ({group.name})" if several else ""
        drawn += [replace(each, title=each.title + named) for each in found]
    tables = []
    for name, spec in book.paper["tables"].items():
        if table := SHAPES[spec["shape"]](book, spec):
            tables.append(replace(table, id=name, title=spec["title"], source=spec["source"]))
    return Report(
        title, _summary(book, judged), facts(book.runs, len(book.unreadable)), judged, drawn,
        [_arms(group) for group in book.groups], views(book, out), tables, book.paper["source"],
        _runs(book, out),
    )  # fmt: skip


def _prefix(group: Group, groups: tuple[Group, ...]) -> str:
    """What the names of its files begin with: nothing that is no name, and nobody else's."""
    names = [re.sub(r"[^\w.-]+", "_", f"{each.pair}-{each.task}") for each in groups]
    index = groups.index(group)
    return f"{names[index]}-{index}-" if names.count(names[index]) > 1 else f"{names[index]}-"


def _summary(book: Book, judged: list[Judged]) -> list[str]:
    found = [sentence for group in book.groups for sentence in _main(group)]
    count = Counter(each.verdict for each in judged)
    words = ", ".join(f"{count[name]} “{name}”" for name in VERDICTS if count[name])
    return [*found, f"The paper's claims, each judged by a stated rule: {words}."]


def _main(group: Group) -> list[str]:
    found = []
    for main, full in group.couples("main", "full")[:1]:
        ours, theirs = (numbers.accuracy(arm, group.benchmark, "last") for arm in (main, full))
        gap = numbers.difference(main, full, group.benchmark, "last")
        if not ours or not theirs or not gap:
            continue
        text = (
            f"On {group.pair} ({group.benchmark}), {main.label} ends at {100 * ours.value:.1f} % "
            f"and full rollouts at {100 * theirs.value:.1f} %, a difference of "
            f"{told(gap.scaled(100), 'points')} over {seeds(len(gap.seeds))}"
        )
        for clocks in group.clocks("main", "full")[:1]:
            fast, slow = (numbers.phase_seconds(arm, "step") for arm in clocks)
            if fast and slow:
                text += (f"; a step takes {_seconds(fast.value)} and {_seconds(slow.value)}, "
                         f"{slow.value / fast.value:.1f} times as long")  # fmt: skip
        found.append(text + ".")
    return found


def _accuracy(arm: Arm, group: Group, moment: str) -> numbers.Number | None:
    return None if arm.timed else numbers.accuracy(arm, group.benchmark, moment)


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.2f} s"


def _arms(group: Group) -> Table:
    """What every arm ends with."""
    rows = []
    for arm in group.arms:
        ends = [cell(_accuracy(arm, group, at)) for at in ("before", "last", "best")]
        step, peak = numbers.phase_seconds(arm, "step"), numbers.peak_gib(arm)
        tokens = numbers.tokens_a_step(arm)
        rows.append(Row(arm.label, (
            Cell(str(len(arm.done))), *ends, cell(step, "{:.2f}", 1), cell(peak, "{:.2f}", 1),
            Cell() if tokens is None else Cell(f"{tokens:,.0f}"),
        )))  # fmt: skip
    columns = ("seeds", "before, %", "last, %", "best, %", "s a step", "peak GiB", "tokens a step")
    title = f"{group.name}: {group.benchmark} avg@k"
    return Table(f"arms-{group.pair}-{group.task}", title, columns, tuple(rows))


def _runs(book: Book, out: Path) -> Table:
    columns = ("seed", "state", "steps", "before, %", "last, %", "best, %", "at step", "s a step",
               "tokens", "peak GiB", "files")  # fmt: skip
    rows = []
    for group in book.groups:
        for arm in group.arms:
            for run in arm.runs:
                where = group.name
                cells = _run_cells(run, "" if arm.timed else group.benchmark, out)
                rows.append(Row(arm.label, cells, group=where))
    for place, reason in book.unreadable.items():
        cells = (Cell(), Cell("unreadable", reason), *[Cell()] * (len(columns) - 2))
        rows.append(Row(os.path.relpath(place, book.folder), cells, group="no arm"))
    return Table("runs", "Runs", columns, tuple(rows))


def _run_cells(run: Run, benchmark: str, out: Path) -> tuple[Cell, ...]:
    at, best = run.steps(benchmark), run.best(benchmark)

    def accuracy(step: int | None) -> Cell:
        row = None if step is None else run.row(benchmark, "avg@", step)
        return Cell(f"{100 * row['value']:.1f}") if row else Cell()

    def over(key: str, of: Callable[[list[float]], float], form: str) -> Cell:
        values = run.column(key)
        return Cell(form.format(of(values))) if values else Cell()

    files = [name for name in ("config.yaml", "samples.jsonl") if (run.folder / name).is_file()]
    links = tuple((name.split(".")[0], os.path.relpath(run.folder / name, out)) for name in files)
    return (
        Cell(str(run.seed)), Cell(run.state), Cell(str(len(run.metrics))),
        accuracy(at[0] if at else None), accuracy(at[-1] if at else None), accuracy(best),
        Cell(str(best)) if best is not None else Cell(), over("time/step_s", median, "{:.2f}"),
        over("rollout/tokens", sum, "{:,.0f}"), over("memory/peak_gib", max, "{:.2f}"),
        Cell(links=links),
    )  # fmt: skip
