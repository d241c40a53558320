"""The content of a report, before it is rendered as HTML or Markdown."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from esr_cli.report import condition_tables, numbers, probe_tables, run_tables
from esr_cli.report.authors import disagreements, theirs
from esr_cli.report.book import Book, Group
from esr_cli.report.claims import Judged, footnotes, format_number, judge, seeds
from esr_cli.report.conditions import Condition
from esr_cli.report.facts import facts
from esr_cli.report.pictures import Picture, pictures
from esr_cli.report.probes import View, views
from esr_cli.report.tables import Cell, Row, Spec, Table, cell
from esr_cli.report.verdicts import VERDICTS
from esr_cli.runs.record import Run

SHAPES: dict[str, Callable[[Book, Spec], Table | None]] = {
    "arms": condition_tables.conditions, "steps": condition_tables.steps,
    **probe_tables.SHAPES, **run_tables.SHAPES,
}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """The parts of a report, in the order of the page."""

    title: str
    summary: list[str]
    facts: list[tuple[str, str]]
    judged: list[Judged]
    notes: list[str]
    pictures: list[Picture]
    conditions: list[Table]
    probes: list[View]
    paper: list[Table]
    source: str
    authors: list[Table]
    authors_source: str
    runs: Table


def compose(book: Book, out: Path, title: str) -> Report:
    """Draws the figures into `out/figures` and assembles the report."""
    judged = judge(book)
    several = len(book.groups) > 1
    drawn = []
    for group in book.groups:
        prefix = _prefix(group, book.groups) if several else ""
        of_group = pictures(group, out / "figures", prefix)
        named = f" ({group.name})" if several else ""
        drawn += [replace(each, title=each.title + named) for each in of_group]
    later = [theirs(table) for table in tables_of(book, book.authors["tables"])]
    return Report(
        title, _summary(book, judged), facts(book.runs, len(book.unreadable)), judged,
        footnotes(judged), drawn,
        [_conditions(group) for group in book.groups], views(book, out),
        tables_of(book, book.paper["tables"]), book.paper["source"],
        [*filter(None, [disagreements(book)]), *later], book.authors["source"], _runs(book, out),
    )  # fmt: skip


def tables_of(book: Book, specs: dict[str, Spec]) -> list[Table]:
    """The tables in which something is ours. `pairs` of a table are the only ones of ours in it."""
    tables = []
    for name, spec in specs.items():
        groups = [each for each in book.groups if each.pair in spec.get("pairs", (each.pair,))]
        if table := SHAPES[spec["shape"]](replace(book, groups=tuple(groups)), spec):
            tables.append(replace(table, id=name, title=spec["title"], source=spec["source"]))
    return tables


def _prefix(group: Group, groups: tuple[Group, ...]) -> str:
    """A prefix for the file names of a group: valid in a file name, and unique among groups."""
    names = [re.sub(r"[^\w.-]+", "_", f"{each.pair}-{each.task}") for each in groups]
    index = groups.index(group)
    return f"{names[index]}-{index}-" if names.count(names[index]) > 1 else f"{names[index]}-"


def _summary(book: Book, judged: list[Judged]) -> list[str]:
    results = [sentence for group in book.groups for sentence in _main_result(group)]
    count = Counter(each.verdict for each in judged)
    words = ", ".join(f"{count[name]} “{name}”" for name in VERDICTS if count[name])
    return [*results, f"The paper's claims, each judged by a stated rule: {words}."]


def _main_result(group: Group) -> list[str]:
    sentences = []
    for main, full in group.couples("main", "full")[:1]:
        ours, theirs = (
            numbers.accuracy(condition, group.benchmark, "last") for condition in (main, full)
        )
        gap = numbers.difference(main, full, group.benchmark, "last")
        if not ours or not theirs or not gap:
            continue
        text = (
            f"On {group.pair} ({group.benchmark}), {main.label} ends at {100 * ours.value:.1f} % "
            f"and full rollouts at {100 * theirs.value:.1f} %, a difference of "
            f"{format_number(gap.scaled(100), 'points')} over {seeds(len(gap.seeds), main.unit)}"
        )
        for clocks in group.clocks("main", "full")[:1]:
            fast, slow = (numbers.phase_seconds(condition, "step") for condition in clocks)
            if fast and slow and fast.value > 0:
                text += (f"; a step takes {_seconds(fast.value)} and {_seconds(slow.value)}, "
                         f"{slow.value / fast.value:.1f} times as long")  # fmt: skip
        sentences.append(text + ".")
    return sentences


def _accuracy(condition: Condition, group: Group, moment: str) -> numbers.Number | None:
    return None if condition.timed else numbers.accuracy(condition, group.benchmark, moment)


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.2f} s"


def _conditions(group: Group) -> Table:
    """The final figures of every condition."""
    rows = []
    for condition in group.conditions:
        ends = [
            cell(_accuracy(condition, group, at)) for at in ("before", "last", "held_out", "best")
        ]
        step, peak = numbers.phase_seconds(condition, "step"), numbers.peak_gib(condition)
        tokens = numbers.tokens_a_step(condition)
        rows.append(Row(condition.label, (
            Cell(*_units(condition)), *ends, cell(step, "{:.2f}", 1), cell(peak, "{:.2f}", 1),
            Cell() if tokens is None else Cell(f"{tokens:,.0f}"),
        )))  # fmt: skip
    columns = ("seeds", "before, %", "last, %", "best, held out, %", "best, flattering, %",
               "s a step", "peak GiB", "tokens a step")  # fmt: skip
    title = f"{group.name}: {group.benchmark} avg@k"
    return Table(f"conditions-{group.pair}-{group.task}", title, columns, tuple(rows))


def _units(condition: Condition) -> tuple[str, str]:
    """The number of seeds, or of students with a word that says so."""
    count = len(condition.units)
    return str(count), "" if condition.unit == "seed" else "student" if count == 1 else "students"


def _runs(book: Book, out: Path) -> Table:
    columns = ("seed", "state", "steps", "before, %", "last, %", "best, %", "at step", "s a step",
               "tokens", "peak GiB", "files")  # fmt: skip
    rows = []
    for group in book.groups:
        for condition in group.conditions:
            for run in condition.runs:
                cells = _run_cells(run, "" if condition.timed else group.benchmark, out)
                rows.append(Row(condition.label, cells, group=group.name))
    for place, reason in book.unreadable.items():
        cells = (Cell(), Cell("unreadable", reason), *[Cell()] * (len(columns) - 2))
        rows.append(Row(os.path.relpath(place, book.folder), cells, group="no condition"))
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
