"""`esr compare`: the paired difference of two runs over the questions that both answered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from esr_cli.base.files import Rows
from esr_cli.base.reading import printable
from esr_cli.base.statistics import paired
from esr_cli.base.words import counted
from esr_cli.config import CompareConfig, ConfigError
from esr_cli.runs import record


@dataclass(frozen=True)
class Scores:
    """One evaluation: its step, the accuracy on each question by id, and its settings hash."""

    step: int
    by_id: dict[str, float]
    settings: str


def run(config: CompareConfig, overrides: list[str]) -> None:
    """Prints b - a for each shared benchmark; raises `ConfigError` if there is none."""
    a, b = load("a", config.a, config.a_step), load("b", config.b, config.b_step)
    shared = [name for name in a if name in b]
    if not shared:
        raise ConfigError(
            f"b={config.b}: has {', '.join(b)}, and a={config.a} has {', '.join(a)}; "
            "evaluate both on the same benchmark"
        )
    table = Table(title=f"b = {config.b}\na = {config.a}", title_justify="left")
    for heading in ("benchmark", "n", "a", "b", "b - a, 95 % interval", "verdict"):
        table.add_column(heading, no_wrap=True)
    notes = []
    for name in shared:
        table.add_row(printable(name), *_row(a[name], b[name]))
        notes += _notes(printable(name), a[name], b[name])
    Console(markup=False, highlight=False).print(table)
    for note in notes:
        print(f"warning: {note}")


def load(key: str, folder: str, step: int | None) -> dict[str, Scores]:
    """The last evaluation of each benchmark, or that at `step`, by benchmark name.

    `folder` is a run or an evaluation. Raises `ConfigError` if it holds no evaluation.
    """
    folders = [Path(folder), *sorted(Path(folder).glob("eval/*"))]
    evaluations: dict[str, Scores] = {}
    for each in folders:
        settings = {
            record.key_of(row): str(row.get("settings", ""))
            for row in record.rows_in(each, "eval.jsonl", ("benchmark", "step"))
        }
        by_key: dict[tuple[str, int], Rows] = {}
        for row in record.rows_in(each, "generations.jsonl"):
            by_key.setdefault(record.key_of(row), []).append(row)
        for (name, at), rows in by_key.items():
            newer = name not in evaluations or at >= evaluations[name].step
            if (at == step or step is None) and newer and (name, at) in settings:
                # Questions that could not be judged have no verdicts.
                judged = [row for row in rows if row.get("correct")]
                scores = {row["id"]: record.share_right(row) for row in judged}
                evaluations[name] = Scores(at, scores, settings[name, at])
    if not evaluations:
        at_step = "" if step is None else f" at step {step}"
        raise ConfigError(f"{key}={folder}: holds no evaluation{at_step}; run esr eval first")
    return evaluations


def _row(a: Scores, b: Scores) -> tuple[str, ...]:
    ids = [name for name in a.by_id if name in b.by_id]
    scores_a, scores_b = [a.by_id[name] for name in ids], [b.by_id[name] for name in ids]
    if not ids:
        return "0", "", "", "", "no question in common"
    mean, low, high = paired(scores_a, scores_b)
    verdict = "within noise" if low <= 0 <= high else "b is better" if mean > 0 else "a is better"
    return (
        str(len(ids)), f"{sum(scores_a) / len(ids):.3f}", f"{sum(scores_b) / len(ids):.3f}",
        f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", verdict,
    )  # fmt: skip


def _notes(name: str, a: Scores, b: Scores) -> list[str]:
    notes = []
    unpaired = len(a.by_id.keys() ^ b.by_id.keys())
    if unpaired:
        notes.append(
            f"{name}: {counted(unpaired, 'question')} answered by only one of the two; ignored"
        )
    if a.settings != b.settings:
        notes.append(
            f"{name}: evaluated with different wording, sampling or budget; not comparable"
        )
    return notes
