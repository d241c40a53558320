"""The content of a report, before it is rendered as HTML, as Markdown or on the terminal."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from esr_cli.base.words import counted
from esr_cli.report import condition_tables, probe_tables, run_tables
from esr_cli.report.authors import disagreements, theirs
from esr_cli.report.book import Book
from esr_cli.report.claims import Judged, footnotes, judge
from esr_cli.report.facts import facts
from esr_cli.report.probes import View, views
from esr_cli.report.sections import Section, sections
from esr_cli.report.tables import Cell, Row, Spec, Table
from esr_cli.report.verdicts import UNMEASURED, VERDICTS
from esr_cli.runs.record import Run

SHAPES: dict[str, Callable[[Book, Spec], Table | None]] = {
    "arms": condition_tables.conditions, "steps": condition_tables.steps,
    **probe_tables.SHAPES, **run_tables.SHAPES,
}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """The parts of a report, in the order of the page. `judged` has the claims that were measured.

    `claims` is a sentence that counts the verdicts.
    """

    title: str
    sections: list[Section]
    probes: list[View]
    facts: list[tuple[str, str]]
    runs: Table
    claims: str
    judged: list[Judged]
    notes: list[str]
    paper: list[Table]
    source: str
    authors: list[Table]
    authors_source: str


def compose(book: Book, out: Path, title: str, kinds: tuple[str, ...]) -> Report:
    """Draws the figures into `out/figures`, as files of these kinds, and assembles the report."""
    judged = judge(book)
    measured = [each for each in judged if each.verdict != UNMEASURED]
    later = [theirs(table) for table in tables_of(book, book.authors["tables"])]
    return Report(
        title, sections(book.groups, out / "figures", kinds),
        views(book, out, tuple(each for each in kinds if each != "png")),
        facts(book.runs, len(book.unreadable)), _runs(book, out),
        _count(judged), measured, [*footnotes(measured), *_unmeasured(judged)],
        tables_of(book, book.paper["tables"]), book.paper["source"],
        [*filter(None, [disagreements(book)]), *later], book.authors["source"],
    )  # fmt: skip


def tables_of(book: Book, specs: dict[str, Spec]) -> list[Table]:
    """The tables in which something is ours. `pairs` of a table are the only ones of ours in it."""
    tables = []
    for name, spec in specs.items():
        groups = [each for each in book.groups if each.pair in spec.get("pairs", (each.pair,))]
        if table := SHAPES[spec["shape"]](replace(book, groups=tuple(groups)), spec):
            tables.append(replace(table, id=name, title=spec["title"], source=spec["source"]))
    return tables


def _count(judged: Sequence[Judged]) -> str:
    """How many of the paper's claims were measured, and their verdicts, in a sentence."""
    count = Counter(each.verdict for each in judged)
    none = count.pop(UNMEASURED, 0)
    rest = f"; {none} not measured" if none else ""
    words = ", ".join(f"{count[name]} “{name}”" for name in VERDICTS if count[name])
    return f"The paper's claims, each judged by a stated rule: {words or 'none measured'}{rest}."


def _unmeasured(judged: Sequence[Judged]) -> list[str]:
    """A sentence on the claims without a measurement, with the reasons that are known."""
    left = [each for each in judged if each.verdict == UNMEASURED]
    if not left:
        return []
    why = "; ".join(dict.fromkeys(each.what for each in left if each.what))
    text = f"{counted(len(left), 'claim')} not measured: there is no run or probe that could, or no"
    return [f"{text} two runs that differ in nothing else{f' ({why})' if why else ''}."]


def _runs(book: Book, out: Path) -> Table:
    columns = ("seed", "state", "steps", "before, %", "last, %", "best, %", "at step", "s a step",
               "tokens", "peak GiB", "files")  # fmt: skip
    rows = []
    for group in book.groups:
        for condition in group.conditions:
            for run in condition.runs:
                benchmark = "" if condition.timed else group.benchmark
                head = f"{group.name}, accuracy on {group.benchmark or 'nothing'}"
                rows.append(Row(condition.label, _run_cells(run, benchmark, out), group=head))
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
