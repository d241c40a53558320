"""Tables of the audit, from the runs of `esr reproduce scale=audit` or `scale=paper_audit`.

    python scripts/summarize_audit.py [runs/reproduce-audit] [--record docs/results/audit.json]

A row is a condition, with the values of its seeds at the last step: accuracy by the last and by the
first box, over all samples; the shares of responses that end, that repeat themselves and that hold
several boxes; the mean number of boxes a response; the mean length in tokens; the accuracy before
training; and the step from which on fewer than half of the training rollouts ended (full rollouts
alone). A second table has the accuracy by the last box at every evaluation. Values are percent
unless they are boxes, tokens or steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results import markdown, summarize

from esr_cli.base.files import conf_dir
from esr_cli.report.book import Book
from esr_cli.report.conditions import gather
from esr_cli.reproduce import matrix
from esr_cli.reproduce.command import MATRICES
from esr_cli.runs import record

# A run whose rollouts end less often than this counts as one that ends no more.
LEAST = 0.5
# A metric that ends in @ is that of the largest k: of all samples of a question.
METRICS = {
    "last box": "avg@", "first box": "first_boxed@", "ended": "ended", "repeats": "repeats",
    "length": "length_tokens/mean",
}  # fmt: skip
COLUMNS = (*METRICS, "several boxes", "boxes a response", "untrained", "ends no more from step")
Figure = float | int | None
# By column, the values of the seeds; `seed` names them, and "at 50" is the accuracy at step 50.
Columns = dict[str, list[Figure]]


def summary(run: Path) -> dict[str, Figure]:
    """The figures of one complete run at its last step, by column."""
    found = record.read(run)
    step = max(found.steps(found.benchmark))

    def value(metric: str, at: int) -> float:
        row = found.row(found.benchmark, metric, at)
        assert row is not None, f"{run}: no {metric} at step {at}"
        return float(row["value"])

    figures: dict[str, Figure] = {
        column: round(value(metric, step) * (1 if column == "length" else 100), 1)
        for column, metric in METRICS.items()
    }
    shares = found.boxes[found.benchmark, step]
    figures["several boxes"] = round(100 * sum(shares.values()) / len(shares), 1)
    figures["boxes a response"] = round(boxes_a_response(run, found.benchmark, step), 2)
    figures["untrained"] = round(100 * value("avg@", 0), 1)
    # Also where the length was given as the number of tokens of a full rollout.
    full = gather([found])[0].kind == "full"
    figures["ends no more from step"] = stopped(found.metrics) if full else None
    for at in found.steps(found.benchmark):
        figures[f"at {at}"] = round(100 * value("avg@", at), 1)
    return {"seed": found.seed, **figures}


def boxes_a_response(run: Path, benchmark: str, step: int) -> float:
    """The mean number of boxes in the responses of one evaluation."""
    rows = record.rows_of_run(run, "generations.jsonl")
    texts = [
        text for row in rows if record.key_of(row) == (benchmark, step) for text in row["responses"]
    ]
    return sum(text.count(record.BOX) for text in texts) / len(texts)


def stopped(rows: Sequence[dict[str, Any]]) -> int | None:
    """The first step from which on less than LEAST of the rollouts end; None if there is none."""
    first = None
    for row in rows:
        if row["rollout/eos_rate"] >= LEAST:
            first = None
        elif first is None:
            first = row["step"]
    return first


def conditions(out: Path, scale: str) -> dict[str, Columns]:
    """The values of all seeds by condition and column, in the order of the cells of the matrix."""
    found: dict[str, Columns] = {}
    for name in matrix.read(conf_dir() / MATRICES / f"{scale}.yaml").cells:
        seeds = sorted((out / "runs" / name).glob("seed=*"), key=lambda run: int(run.name[5:]))
        figures = [summary(run) for run in seeds if (run / "summary.json").is_file()]
        if figures:
            found[name] = {column: [each.get(column) for each in figures] for column in figures[0]}
    return found


def tables(written: dict[str, Any]) -> list[str]:
    """Two Markdown tables: the figures of each condition, and its accuracy by step."""
    found = written["conditions"]
    steps = dict.fromkeys(key for columns in found.values() for key in columns if key[:3] == "at ")
    return [_table(found, COLUMNS), _table(found, tuple(steps))]


def _table(found: dict[str, Columns], shown: Sequence[str]) -> str:
    rows = []
    for name, columns in found.items():
        values = [columns.get(key, [None]) for key in shown]
        rows.append([name, *(", ".join("–" if v is None else f"{v:g}" for v in e) for e in values)])
    return markdown(("condition", *shown), rows)


def figures(out: Path, asked: dict[str, Any], book: Book) -> dict[str, Any]:
    """The values of all conditions."""
    return {"conditions": conditions(out, asked["scale"])}


if __name__ == "__main__":
    summarize(str(__doc__), "audit", figures, tables)
