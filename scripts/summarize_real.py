"""The table over N on a pretrained model, from the runs of `esr reproduce scale=real`.

    python scripts/summarize_real.py [runs/reproduce-real] [--record FILE]

A line a condition, full rollouts last: accuracy before training and after the last step with 95 %
intervals over seeds and questions, the worst seed, what whole greedy responses look like then (the
shares that end by themselves, hold a box and repeat themselves, their mean length), the difference
from full rollouts paired by seed and question, the reverse KL inside the rollouts at the first and
the last step, the number of seeds whose watched responses raise an alarm (by `runs/guard.py`, from
what the runs recorded), and the tokens and seconds of a step. Verdicts on the paper's claims are
those of `scripts/record_reproduction.py`.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, median
from typing import Any

from results import by_unit, conditions, markdown, summarize

from esr_cli.base.files import read_rows
from esr_cli.config import AlarmsConfig
from esr_cli.report import numbers
from esr_cli.report.book import Book
from esr_cli.report.conditions import Condition
from esr_cli.report.number import Number
from esr_cli.runs import record
from esr_cli.runs.guard import Guard

BENCHMARK = "words"
SHARES = ("ended", "boxed", "repeats")
COLUMNS = (
    "condition", "seeds", "before, %", "last, %", "worst seed, %", "ended, %", "boxed, %",
    "repeating, %", "tokens a response", "minus full, points", "KL, first and last step", "alarms",
    "tokens a step", "s a step",
)  # fmt: skip


def summary(condition: Condition, full: Condition | None) -> dict[str, Any]:
    """The figures of a condition: shares in percent, differences in points."""
    shares = {
        f"{name} {moment}": _percent(numbers.metric(condition, BENCHMARK, name, moment))
        for name in SHARES for moment in ("before", "last")
    }  # fmt: skip
    length = numbers.metric(condition, BENCHMARK, "length_tokens/mean", "last")
    gap = None
    if full and full is not condition:
        gap = numbers.difference(condition, full, BENCHMARK, "last")
    kl = [column for run in condition.done if (column := run.column("train/reverse_kl"))]
    return {
        "seeds": len(condition.units),
        "before": _percent(numbers.accuracy(condition, BENCHMARK, "before")),
        "last": _percent(numbers.accuracy(condition, BENCHMARK, "last")), **shares,
        "length": by_unit(length, 1), "minus full": _percent(gap),
        "kl": [round(fmean(column[at] for column in kl), 3) for at in (0, -1)] if kl else None,
        "alarms": sum(map(_alarmed, condition.done)),
        "tokens": numbers.tokens_a_step(condition),
        "seconds": round(median(x for run in condition.done for x in run.column("time/step_s")), 2),
    }  # fmt: skip


def _alarmed(run: record.Run) -> bool:
    guard = Guard(AlarmsConfig(**run.config["alarms"]))
    metrics, watches = (read_rows(run.folder / f"{name}.jsonl") for name in ("metrics", "watch"))
    return bool(guard.replay(metrics, watches, n=0))


def _percent(found: Number | None) -> dict[str, Any] | None:
    return by_unit(found.scaled(100) if found else None, 2)


def figures(out: Path, asked: dict[str, Any], _: Book) -> dict[str, Any]:
    """The seconds of the cells, and every condition."""
    found = conditions(out)
    full = found.get("full")
    return {
        "seconds": asked["seconds"],
        "conditions": {
            name: summary(found[name], found.get("ft_full") if name.startswith("ft_") else full)
            for name in sorted(found, key=_order)
        },
    }  # fmt: skip


def _order(name: str) -> tuple[bool, int, str]:
    """LoRA first, ESR by N, then full rollouts, then the others."""
    tuned, _, last = name.startswith("ft_"), *name.rpartition("_")[1:]
    number = int(last) if last.isdecimal() and "esr" in name else 10**6
    return tuned, number if name != "full" else 10**5, name


def tables(written: dict[str, Any]) -> list[str]:
    """Markdown: a line a condition."""
    return [markdown(COLUMNS, [_row(*each) for each in written["conditions"].items()])]


def _row(name: str, each: dict[str, Any]) -> list[str]:
    last = each["last"] or {}
    worst = min(last["each"].values()) if last.get("each") else None
    return [
        name, str(each["seeds"]), _span(each["before"]), _span(each["last"]),
        "–" if worst is None else f"{worst:.1f}", _span(each["ended last"]),
        _span(each["boxed last"]), _span(each["repeats last"]), _span(each["length"]),
        _span(each["minus full"], "+"),
        "{:.2f}, {:.2f}".format(*each["kl"]) if each["kl"] else "–",
        str(each["alarms"]),
        "–" if each["tokens"] is None else f"{each['tokens']:,.0f}", f"{each['seconds']:.1f}",
    ]  # fmt: skip


def _span(found: dict[str, Any] | None, sign: str = "") -> str:
    if not found:
        return "–"
    value, low, high = (format(found[key], f"{sign}.1f") for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    summarize(str(__doc__), "real", figures, tables)
