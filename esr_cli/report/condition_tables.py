"""Tables with one row per condition: its final figures, or its figures at each step."""

from __future__ import annotations

from collections.abc import Iterable

from esr_cli.report import numbers
from esr_cli.report.book import Book, Group
from esr_cli.report.conditions import Condition, scale_of
from esr_cli.report.number import Number
from esr_cli.report.panels import start_of, teacher_in
from esr_cli.report.tables import (
    BEST,
    HELD_OUT,
    LAST,
    OURS,
    Cell,
    Row,
    Spec,
    Table,
    cell,
    filled,
    has_ours,
    key_of,
    name_of,
    paper_row,
    table_with_ours,
    thinned,
    without_empty_columns,
)  # fmt: skip


def conditions(book: Book, spec: Spec) -> Table | None:
    """Conditions as rows, grouped by pair, and metrics as columns. The paper's pairs come first."""
    columns = _columns(spec)
    rows: list[Row] = []
    groups = [group for group in book.groups if _wanted(group, spec)]
    pairs = dict.fromkeys([*spec["rows"], *(group.pair for group in groups)])
    for pair in pairs:
        pair_groups = [group for group in groups if group.pair == pair]
        ours = [row for group in pair_groups for row in _ours(group, spec)]
        paper = spec["rows"].get(pair, {})
        keys = dict.fromkeys([*paper, *(key for key, _ in ours)])
        pair_rows: list[Row] = []
        for key in keys:
            if key in paper:
                known = dict(enumerate(paper[key]))
                values = [None if at is None else known.get(at) for _, _, at in columns]
                pair_rows.append(paper_row(name_of(key), values, len(columns)))
            pair_rows += [row for name, row in ours if name == key]
        benchmarks = dict.fromkeys(group.benchmark for group in pair_groups)
        head = ": ".join(dict.fromkeys([pair, *benchmarks]))
        rows += [Row(row.label, row.cells, row.whose, head) for row in filled(pair_rows)]
    if not has_ours(rows):
        return None
    return without_empty_columns([title for _, title, _ in columns], rows)


def _columns(spec: Spec) -> list[tuple[str, str, int | None]]:
    """The key, the heading and the place in the paper's rows of each column.

    Alternatives with the metric of the first are other benchmarks: they get columns of their own,
    which the paper lacks, headed by their names.
    """
    found: list[tuple[str, str, int | None]] = []
    for at, (key, title) in enumerate(spec["columns"].items()):
        first, *others = key.split("|")
        metric = first.split("/")[1]
        own = [each for each in others if each.split("/")[1] == metric]
        found.append(("|".join([first, *(each for each in others if each not in own)]), title, at))
        found += [(each, f"{each.replace('/', ' ')}k", None) for each in own]
    return found


def _wanted(group: Group, spec: Spec) -> bool:
    scale = scale_of(group.pair)
    known = group.pair in spec["rows"] or not spec.get("only_pairs_of_the_table")
    return known and scale in spec.get("scales", ("lab", "real", "paper"))


def _ours(group: Group, spec: Spec) -> list[tuple[str, Row]]:
    columns, rows = [key for key, _, _ in _columns(spec)], []
    tune = spec.get("tune", group.scale["tune"])
    for role in spec["ours"]:
        if role == "student":
            if any(run.state == "complete" for condition in group.graded for run in condition.runs):
                rows.append(("student", _student(group, columns)))
        elif role == "teacher":
            cells = tuple(cell(teacher(group, key)) for key in columns)
            rows.append(("teacher", Row(name_of("teacher"), cells, OURS)))
        else:
            for condition in group.chosen(f"main_by_{tune}" if role == "main" else role):
                if condition.tune == tune:
                    rows += [(key_of(condition), row) for row in _last_and_best(condition, columns)]
    return rows


def _student(group: Group, columns: Iterable[str]) -> Row:
    cells = []
    for key in columns:
        names = [each.split("/")[0] for each in key.split("|")]
        known = (start_of(group.graded, name) for name in names)
        found = next(filter(None, known), None)
        cells.append(cell(_at(found, key, "before") if found else None))
    return Row(name_of("student"), tuple(cells), OURS)


def _last_and_best(condition: Condition, columns: Iterable[str]) -> list[Row]:
    return [
        Row(condition.label, tuple(cell(_at(condition, key, moment)) for key in columns), whose)
        for moment, whose in (("last", LAST), ("held_out", HELD_OUT), ("best", BEST))
    ]


def _at(condition: Condition, key: str, moment: str) -> Number | None:
    for each in key.split("|"):
        benchmark, metric = each.split("/")
        if metric == "avg@" and (found := numbers.accuracy(condition, benchmark, moment)):
            return found
        if number := numbers.metric(condition, benchmark, metric, moment):
            return number
    return None


def teacher(group: Group, key: str) -> Number | None:
    """The teacher's figure, from an evaluation of the teacher or else from a decay probe."""
    for each in key.split("|"):
        benchmark, metric = each.split("/")
        if number := teacher_in(group, benchmark, metric):
            return number
    return None


def steps(book: Book, spec: Spec) -> Table | None:
    """Conditions and metrics as rows, and steps (the paper's and ours) as columns."""
    rollouts = spec.get("rollouts_per_prompt", 1)
    found = [
        (group, condition) for group in book.groups for role in ("every", "growing", "full")
        for condition in group.chosen(role) if condition.config["rollouts_per_prompt"] == rollouts
    ]  # fmt: skip
    benchmarks = [each.split("/")[0] for key in spec["ours"] for each in key.split("|")]
    at = {step for _, condition in found for run in condition.done for name in benchmarks
          for step in run.steps(name) if step > 0}  # fmt: skip
    columns = sorted({*spec["columns"], *thinned(list(at))})
    rows: list[Row] = []
    for key, metrics in spec["rows"].items():
        for metric, values in metrics.items():
            known = dict(zip(spec["columns"], values, strict=True))
            label = f"{name_of(key)}, {_metric(metric)}"
            row = paper_row(label, [known.get(step) for step in columns], len(columns))
            rows += [row, *_steps_of(found, metric, columns, key)]
    for metric in spec["ours"]:
        rest = [(g, a) for g, a in found if metric not in spec["rows"].get(key_of(a), {})]
        rows += _steps_of(rest, metric, columns, None)
    return table_with_ours(columns, rows)


def _steps_of(
    found: list[tuple[Group, Condition]], metric: str, columns: list[int], key: str | None
) -> list[Row]:
    rows = []
    for group, condition in found:
        if key is not None and key_of(condition) != key:
            continue
        for each in metric.split("|"):
            benchmark, name = each.split("/")
            cells = tuple(_step_cell(condition, benchmark, name, step) for step in columns)
            if any(cell != Cell() for cell in cells):
                rows.append(Row(f"{condition.label}, {_metric(each)}, {group.pair}", cells, OURS))
                break
    return rows


def _step_cell(condition: Condition, benchmark: str, name: str, step: int) -> Cell:
    number = numbers.metric_at(
        condition, benchmark, name, lambda run, on: step if step in run.steps(on) else None
    )
    return Cell(f"{100 * number.value:.1f}") if number else Cell()


def _metric(key: str) -> str:
    """A metric in words. If the key has alternatives, the first is the paper's."""
    return key.split("|")[0].replace("/", " ").removesuffix("@").replace("_", " ")
