"""Tables whose rows are arms: what each ends with, or where it stands at each step."""

from __future__ import annotations

from collections.abc import Iterable

from esr_cli.report import numbers
from esr_cli.report.arms import Arm, scale_of
from esr_cli.report.book import Book, Group
from esr_cli.report.measures import matching
from esr_cli.report.numbers import Number
from esr_cli.report.tables import (
    BEST,
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
    thinned,
    without_empty_columns,
)  # fmt: skip
from esr_cli.runs.record import interval_of, of_metric


def arms(book: Book, spec: Spec) -> Table | None:
    """Rows of arms below each pair; columns of figures. The paper's pairs first."""
    columns = dict(spec["columns"])
    rows: list[Row] = []
    groups = [group for group in book.groups if _wanted(group, spec)]
    pairs = dict.fromkeys([*spec["rows"], *(group.pair for group in groups)])
    for pair in pairs:
        own_groups = [group for group in groups if group.pair == pair]
        ours = [row for group in own_groups for row in _ours(group, spec)]
        theirs = spec["rows"].get(pair, {})
        keys = dict.fromkeys([*theirs, *(key for key, _ in ours)])
        own: list[Row] = []
        for key in keys:
            if key in theirs:
                own.append(paper_row(name_of(key), theirs[key], len(columns)))
            own += [row for name, row in ours if name == key]
        asked = dict.fromkeys(group.benchmark for group in own_groups)
        head = ": ".join(dict.fromkeys([pair, *asked]))
        rows += [Row(row.label, row.cells, row.whose, head) for row in filled(own)]
    if not has_ours(rows):
        return None
    return without_empty_columns(list(columns.values()), rows)


def _wanted(group: Group, spec: Spec) -> bool:
    scale = scale_of(group.pair)
    known = group.pair in spec["rows"] or not spec.get("only_pairs_of_the_table")
    return known and scale in spec.get("scales", ("lab", "paper"))


def _ours(group: Group, spec: Spec) -> list[tuple[str, Row]]:
    columns, found = list(spec["columns"]), []
    tune = spec.get("tune", group.scale["tune"])
    for role in spec["ours"]:
        if role == "student":
            if any(run.state == "complete" for arm in group.graded for run in arm.runs):
                found.append(("student", _student(group, columns)))
        elif role == "teacher":
            cells = tuple(cell(teacher(group, key)) for key in columns)
            found.append(("teacher", Row(name_of("teacher"), cells, OURS)))
        else:
            for arm in group.chosen(f"main_by_{tune}" if role == "main" else role):
                if arm.tune == tune:
                    found += [(key_of(arm), row) for row in _both(arm, columns)]
    return found


def _student(group: Group, columns: Iterable[str]) -> Row:
    whole = max(group.graded, key=lambda arm: len(arm.done))
    cells = tuple(cell(_at(whole, key, "before")) for key in columns)
    return Row(name_of("student"), cells, OURS)


def _both(arm: Arm, columns: Iterable[str]) -> list[Row]:
    return [
        Row(arm.label, tuple(cell(_at(arm, key, moment)) for key in columns), whose)
        for moment, whose in (("last", LAST), ("best", BEST))
    ]


def _at(arm: Arm, key: str, moment: str) -> Number | None:
    for each in key.split("|"):
        benchmark, metric = each.split("/")
        number = numbers.metric(arm, benchmark, metric, moment)
        if number:
            return numbers.accuracy(arm, benchmark, moment) if metric == "avg@" else number
    return None


def teacher(group: Group, key: str) -> Number | None:
    """The teacher's figure, from an evaluation of it or from a probe of its decay."""
    for each in key.split("|"):
        if number := _teacher(group, *each.split("/")):
            return number
    return None


def _teacher(group: Group, benchmark: str, metric: str) -> Number | None:
    own = (row for row in group.teacher if row["benchmark"] == benchmark)
    row = of_metric(own, metric)
    if not row and metric == "avg@" and benchmark == group.benchmark:
        asked = {"figure": "accuracy", "where": {"who": "teacher"}}
        told = [row for probe in group.probes("decay") for row in matching(probe.rows, asked)]
        row = next(iter(told), None)
    return Number(*interval_of(row), ()).within(0, 1) if row else None


def steps(book: Book, spec: Spec) -> Table | None:
    """Rows of arms and metrics; columns of steps, the paper's and ours."""
    many = spec.get("rollouts_per_prompt", 1)
    found = [
        (group, arm) for group in book.groups for role in ("every", "growing", "full")
        for arm in group.chosen(role) if arm.config["rollouts_per_prompt"] == many
    ]  # fmt: skip
    asked = [each.split("/")[0] for key in spec["ours"] for each in key.split("|")]
    at = {step for _, arm in found for run in arm.done.values() for name in asked
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
    rows = list(filled(rows))
    return Table("", "", tuple(map(str, columns)), tuple(rows)) if has_ours(rows) else None


def _steps_of(
    found: list[tuple[Group, Arm]], metric: str, columns: list[int], key: str | None
) -> list[Row]:
    rows = []
    for group, arm in found:
        if key is not None and key_of(arm) != key:
            continue
        for each in metric.split("|"):
            benchmark, name = each.split("/")
            cells = tuple(_step_cell(arm, benchmark, name, step) for step in columns)
            if any(cell != Cell() for cell in cells):
                rows.append(Row(f"{arm.label}, {_metric(each)}, {group.pair}", cells, OURS))
                break
    return rows


def _step_cell(arm: Arm, benchmark: str, name: str, step: int) -> Cell:
    number = numbers.metric_at(
        arm, benchmark, name, lambda run, asked: step if step in run.steps(asked) else None
    )
    return Cell(f"{100 * number.value:.1f}") if number else Cell()


def _metric(key: str) -> str:
    """In words; of several the first, which is the paper's own."""
    return key.split("|")[0].replace("/", " ").removesuffix("@").replace("_", " ")
