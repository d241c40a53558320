"""The paper's tables about runs: lengths, form of responses, collapse, time and memory."""

from __future__ import annotations

from collections.abc import Callable

from esr_cli.report import numbers
from esr_cli.report.book import Book
from esr_cli.report.claims import seeds
from esr_cli.report.conditions import Condition
from esr_cli.report.number import Number
from esr_cli.report.tables import (
    LAST,
    OURS,
    PAPER,
    Cell,
    Row,
    Spec,
    Table,
    cell,
    name_of,
    paper_row,
    table_with_ours,
    thinned,
)  # fmt: skip
from esr_cli.runs.record import Run


def lengths(book: Book, spec: Spec) -> Table | None:
    """Quantiles of the response length; the teacher's come from a probe."""
    columns = spec["columns"]
    rows = [
        paper_row(name_of(key), values, len(columns), "{:.0f}")
        for key, values in spec["rows"].items()
    ]
    for group in book.groups:
        conditions = [*group.chosen("full"), *group.chosen("main")]
        if conditions:
            rows.append(_lengths(conditions[0], group.benchmark, columns, "before", group.pair))
        for probe in group.probes("commitment")[:1]:
            figures = {
                row.get("figure"): row.get("value")
                for row in probe.rows
                if row.get("who") == "teacher"
            }
            quantiles = [figures.get(f"length_{column}") for column in columns]
            cells = tuple(Cell() if each is None else Cell(f"{each:.0f}") for each in quantiles)
            rows.append(Row(f"teacher, {group.pair}", cells, OURS))
        rows += [
            _lengths(condition, group.benchmark, columns, "last", group.pair)
            for condition in conditions
        ]
    return table_with_ours(columns, rows)


def _lengths(
    condition: Condition, benchmark: str, columns: list[str], moment: str, pair: str
) -> Row:
    found = [
        numbers.metric(condition, benchmark, f"length_tokens/{each}", moment) for each in columns
    ]
    cells = tuple(cell(each, "{:.0f}", 1) for each in found)
    label = name_of("student") if moment == "before" else condition.label
    return Row(f"{label}, {pair}", cells, OURS if moment == "before" else LAST)


def looks(book: Book, spec: Spec) -> Table | None:
    """Shares of several boxes and repetition, and accuracy, of full rollouts over the steps."""
    found = [(group, condition) for group in book.groups for condition in group.chosen("full")]
    at = [step for group, condition in found for run in condition.done
          for step in run.steps(group.benchmark) if step > 0]  # fmt: skip
    columns = sorted({*spec["columns"], *thinned(at)})
    rows: list[Row] = []
    for key, values in spec["rows"].items():
        known = dict(zip(spec["columns"], values, strict=True))
        rows.append(paper_row(name_of(key), [known.get(step) for step in columns], len(columns)))
        for group, condition in found:
            shares = [_look(condition, group.benchmark, key, step) for step in columns]
            cells = tuple(Cell(f"{100 * each.value:.1f}") if each else Cell() for each in shares)
            rows.append(Row(f"{name_of(key)}, {condition.label}, {group.pair}", cells, OURS))
    return table_with_ours(columns, rows)


def _look(condition: Condition, benchmark: str, key: str, step: int) -> Number | None:
    def moment(run: Run, name: str) -> int | None:
        return step if step in run.steps(name) else None

    if key == "several_boxes":
        return numbers.several_boxes_at(condition, benchmark, moment)
    name = {"repeats": "repeats", "accuracy": "avg@"}.get(key)
    return numbers.metric_at(condition, benchmark, name, moment) if name else None


def collapse(book: Book, spec: Spec) -> Table | None:
    """The peak of the mean over seeds, and the lowest value after it."""
    columns = ("peak", "lowest after it", "fall")
    rows = [
        Row(f"{what}, {tune}", (Cell(f"{peak:g}", f"({at})"), Cell(f"{low:g}", f"({then})"),
            Cell(f"{peak - low:.1f}")), PAPER, pair)
        for pair, tune, what, peak, at, low, then in sorted(spec["rows"], key=lambda row: row[0])
    ]  # fmt: skip
    for group in book.groups:
        for condition in group.chosen("full"):
            curve = mean_curve(condition, group.benchmark)
            if len(curve) > 1:
                peak = max(curve[1:], key=lambda point: point[1])
                low = min((p for p in curve if p[0] >= peak[0]), key=lambda point: point[1])
                cells = (*(Cell(f"{100 * v:.1f}", f"({at})") for at, v in (peak, low)),
                         Cell(f"{100 * (peak[1] - low[1]):.1f}"))  # fmt: skip
                count = seeds(len(condition.units), condition.unit)
                label = f"{group.benchmark} avg@k, {condition.label}, {count}"
                rows.append(Row(label, cells, OURS, group.pair))
    return table_with_ours(columns, rows)


def mean_curve(condition: Condition, benchmark: str) -> list[tuple[int, float]]:
    """Step and mean accuracy over seeds, at the steps that all seeds have."""
    found = []
    for step in sorted({step for run in condition.done for step in run.steps(benchmark)}):
        rows = [run.row(benchmark, "avg@", step) for run in condition.done]
        values = [row["value"] for row in rows if row]
        if len(values) == len(rows):
            found.append((step, sum(values) / len(values)))
    return found


def efficiency(book: Book, spec: Spec) -> Table | None:
    """Seconds by phase and peak memory, of ESR and full rollouts side by side."""
    columns = ["ESR, s", "full, s", "ESR, GB", "full, GB"]
    rows = [
        paper_row(name_of(key), values, 4, "{:g}") for key, values in spec["rows"].items()
    ]  # fmt: skip
    for group in book.groups:
        for main, full in group.clocks("main", "full"):
            for phase in spec["rows"]:
                seconds = [cell(numbers.phase_seconds(condition, phase), "{:.2f}", 1)
                           for condition in (main, full)]  # fmt: skip
                # The peak is known for the full step only, and for the trainer process only.
                peaks = [cell(numbers.peak_gib(condition) if phase == "step" else None, "{:.2f}",
                              2**30 / 1e9) for condition in (main, full)]  # fmt: skip
                label = f"{name_of(phase)}, {main.label}, {group.pair}"
                rows.append(Row(label, (*seconds, *peaks), OURS))
    return table_with_ours(columns, rows)


SHAPES: dict[str, Callable[[Book, Spec], Table | None]] = {
    "lengths": lengths, "looks": looks, "collapse": collapse, "efficiency": efficiency,
}  # fmt: skip
