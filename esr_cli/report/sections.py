"""The first part of a report: one section for each panel of runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from esr_cli.report import numbers
from esr_cli.report.answers import Answer, answers, is_more_than_noise, notes
from esr_cli.report.book import Group
from esr_cli.report.conditions import Condition
from esr_cli.report.number import Number
from esr_cli.report.panels import Line, Panel, panels
from esr_cli.report.pictures import Canvas, Picture, lead_pictures, more_pictures, phases
from esr_cli.report.tables import Cell, Row, Table, cell


@dataclass(frozen=True)
class Section:
    """One panel as shown: the answers that it gives, its conditions, and figures.

    `more` and `details` are collapsed on the page. `panel` is None if no run of a group is
    complete, or if its runs only measure time.
    """

    id: str
    title: str
    answers: list[Answer]
    notes: list[str]
    overview: Table | None
    pictures: list[Picture]
    more: list[Picture]
    details: Table
    panel: Panel | None


def sections(groups: tuple[Group, ...], folder: Path, kinds: tuple[str, ...]) -> list[Section]:
    """Draws the figures of all groups into `folder`, as files of these kinds; a section for each of
    their panels.
    """
    found: list[Section] = []
    for group in groups:
        of_group = panels(group)
        known = {id(each.runs) for panel in of_group for each in panel.conditions}
        rest = [each for each in group.conditions if id(each.runs) not in known]
        shown: list[Panel | None] = [*of_group] or [None]
        for panel in shown:
            alone = len(groups) == 1 and len(of_group) < 2
            prefix = "" if alone else f"{_file_name(group, panel)}-{len(found)}-"
            canvas = Canvas(folder, prefix, kinds)
            found.append(_section(f"panel-{len(found)}", group, panel, rest, canvas))
            rest = []
    return found


def _section(
    name: str, group: Group, panel: Panel | None, rest: list[Condition], canvas: Canvas
) -> Section:
    """`rest` are the conditions of the group that no panel has."""
    more = more_pictures(panel, canvas) if panel else []
    more += phases(group, [*panel.conditions, *rest] if panel else rest, canvas)
    title = f"{group.name}: {panel.name}" if panel else f"{group.name}: no accuracy yet"
    return Section(
        name, title, answers(panel) if panel else [],
        notes(panel) if panel else [], _overview(panel) if panel else None,
        lead_pictures(panel, canvas) if panel else [], more,
        _details(group, panel, rest), panel,
    )  # fmt: skip


def _file_name(group: Group, panel: Panel | None) -> str:
    words = [group.pair, group.task, *([panel.benchmark, str(panel.asked)] if panel else [])]
    return re.sub(r"[^\w.-]+", "_", "-".join(words))[:80]


def _overview(panel: Panel) -> Table:
    """Accuracy, the difference to the reference, and the cost of every condition."""
    rows = [Row(line.label, _cells(line)) for line in panel.lines]
    for label, number in (
        ("student at the start", panel.start),
        ("teacher", panel.teacher),
    ):
        if number:
            rows.append(Row(label, (Cell(), Cell(), cell(number), *[Cell()] * 5)))
    several = len(panel.conditions) > 1
    against = f"minus {panel.reference.label}, points" if several else "difference"
    columns = ("N", f"{panel.unit}s", f"{panel.benchmark} {panel.metric}, %", against,
               "more than noise", "tokens sampled", "training, s", "peak GiB")  # fmt: skip
    note = "" if not several else (
        "The differences are of the last evaluations, paired over the same questions and "
        f"{panel.unit}s. More than noise: the 95 % interval excludes zero.")  # fmt: skip
    return Table("overview", "", columns, tuple(rows), note=note)


def _cells(line: Line) -> tuple[Cell, ...]:
    gap, condition = line.difference, line.condition
    noise = Cell() if gap is None else Cell("yes" if is_more_than_noise(gap) else "no")
    full = condition.kind == "full"
    return (
        Cell("full" if full else str(condition.tokens)), Cell(str(len(condition.units))),
        cell(line.accuracy), Cell() if gap is None else cell(gap.scaled(100), "{:+.1f}", 1), noise,
        _mean(line.tokens, "{:,.0f}"), _mean(line.seconds, "{:,.1f}"),
        _mean(line.peak_gib, "{:.2f}"),
    )  # fmt: skip


def _mean(number: Number | None, form: str) -> Cell:
    """A cost without its interval, which the table of details has."""
    return Cell(form.format(number.value)) if number else Cell()


def _details(group: Group, panel: Panel | None, rest: list[Condition]) -> Table:
    """Accuracies at each moment, and the cost of a step, of every condition."""
    rows = []
    for condition in [*(panel.conditions if panel else ()), *rest]:
        benchmark = panel.benchmark if panel else ""
        ends = [
            cell(None if condition in rest else numbers.accuracy(condition, benchmark, at))
            for at in ("before", "last", "held_out", "best")
        ]
        step, peak = numbers.phase_seconds(condition, "step"), numbers.peak_gib(condition)
        tokens = numbers.tokens_a_step(condition)
        rows.append(Row(condition.label, (
            Cell(*_units(condition)), *ends, cell(step, "{:.2f}", 1), cell(peak, "{:.2f}", 1),
            Cell() if tokens is None else Cell(f"{tokens:,.0f}"),
        )))  # fmt: skip
    columns = ("seeds", "before, %", "last, %", "best, held out, %", "best, flattering, %",
               "s a step", "peak GiB", "tokens a step")  # fmt: skip
    return Table("details", "Before and after training, and a step", columns, tuple(rows))


def _units(condition: Condition) -> tuple[str, str]:
    """The number of seeds, or of students with a word that says so."""
    count = len(condition.units)
    return str(count), "" if condition.unit == "seed" else "student" if count == 1 else "students"
