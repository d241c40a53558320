"""`esr compare`: the paired difference of two runs on the questions that both answered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from esr_cli.base.files import Rows, read_rows
from esr_cli.base.statistics import paired
from esr_cli.config import CompareConfig, ConfigError


@dataclass(frozen=True)
class Scores:
    """One evaluation: its step, the share of right responses to each question, its settings."""

    step: int
    by_id: dict[str, float]
    settings: str


def run(config: CompareConfig, overrides: list[str]) -> None:
    """Prints b - a for every benchmark that both have; raises `ConfigError` where there is none."""
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
        table.add_row(name, *_row(a[name], b[name]))
        notes += _notes(name, a[name], b[name])
    Console(markup=False, highlight=False).print(table)
    for note in notes:
        print(f"warning: {note}")


def load(key: str, folder: str, step: int | None) -> dict[str, Scores]:
    """The evaluation of every benchmark found in a run's folder or an evaluation's: the last, or
    that of `step`. Raises `ConfigError` where there is none.
    """
    places = [Path(folder), *sorted(Path(folder).glob("eval/*"))]
    found: dict[str, Scores] = {}
    for place in places:
        settings = {
            (row["benchmark"], row["step"]): row.get("settings", "")
            for row in read_rows(place / "eval.jsonl")
        }
        by_key: dict[tuple[str, int], Rows] = {}
        for row in read_rows(place / "generations.jsonl"):
            by_key.setdefault((row["benchmark"], row["step"]), []).append(row)
        for (name, at), rows in by_key.items():
            newer = name not in found or at >= found[name].step
            if (at == step or step is None) and newer and (name, at) in settings:
                scores = {row["id"]: sum(row["correct"]) / len(row["correct"]) for row in rows}
                found[name] = Scores(at, scores, settings[name, at])
    if not found:
        told = "" if step is None else f" at step {step}"
        raise ConfigError(f"{key}={folder}: holds no evaluation{told}; run esr eval first")
    return found


def _row(a: Scores, b: Scores) -> tuple[str, ...]:
    ids = [name for name in a.by_id if name in b.by_id]
    ours, theirs = [a.by_id[name] for name in ids], [b.by_id[name] for name in ids]
    if not ids:
        return "0", "", "", "", "no question in common"
    mean, low, high = paired(ours, theirs)
    verdict = "within noise" if low <= 0 <= high else "b is better" if mean > 0 else "a is better"
    return (
        str(len(ids)), f"{sum(ours) / len(ids):.3f}", f"{sum(theirs) / len(ids):.3f}",
        f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", verdict,
    )  # fmt: skip


def _notes(name: str, a: Scores, b: Scores) -> list[str]:
    notes = []
    alone = len(a.by_id.keys() ^ b.by_id.keys())
    if alone:
        notes.append(f"{name}: {alone} questions were answered by one of the two only, and left")
    if a.settings != b.settings:
        notes.append(f"{name}: asked with other wording, sampling or budget; not alike")
    return notes
