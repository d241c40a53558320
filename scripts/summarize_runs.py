"""A table of finished runs, a line a condition, with the values of its seeds.

    python scripts/summarize_runs.py RUNS [--record FILE] [--command TEXT]

Accuracy in percent at the first and at the last evaluation; median seconds of a step by phase; the
largest difference of the engine's and the trainer's log-probabilities; the share of positions that
are compared, with unlike tokenizers. RUNS is searched like that of `esr report`. The file also
names the command that made the runs (`--command`), versions and machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean, median
from typing import Any

from esr_cli.report.conditions import Condition, gather
from esr_cli.runs import record

PHASES = ("sync", "generate", "score", "train", "step")
COLUMNS = ("seeds", "before, %", "last, %", f"s: {' / '.join(PHASES)}", "largest gap")
COMPARED = "positions compared, %"


def conditions(runs: Path) -> dict[str, dict[str, Any]]:
    """The figures of every condition with a complete run, by pair and label."""
    found = [each for each in gather(list(map(record.read, record.places(runs)))) if each.done]
    names = [f"{each.pair}: {each.label}" for each in found]
    return dict(zip(names, map(summary, found), strict=True))


def summary(condition: Condition) -> dict[str, Any]:
    """The figures of one condition; lists are in the order of its seeds."""
    runs = condition.done
    seconds = {phase: [median(run.column(f"time/{phase}_s")) for run in runs] for phase in PHASES}
    gaps = [gap for run in runs for gap in run.column("rollout/logprob_gap_max")]
    compared = [share for run in runs for share in run.column("align/coverage")]
    return {
        "seeds": [run.seed for run in runs],
        "before": [_accuracy(run, 0) for run in runs], "last": [_accuracy(run, -1) for run in runs],
        "seconds": {phase: round(median(each), 4) for phase, each in seconds.items()},
        "gap": max(gaps) if gaps else None,
        "compared": round(100 * fmean(compared), 1) if compared else None,
    }  # fmt: skip


def _accuracy(run: record.Run, at: int) -> float | None:
    steps = run.steps(run.benchmark)
    row = run.row(run.benchmark, "avg@", steps[at]) if steps else None
    return round(100 * row["value"], 1) if row else None


def tables(written: dict[str, Any]) -> list[str]:
    """The conditions as one Markdown table."""
    found = written["conditions"]
    compared = any(figures["compared"] is not None for figures in found.values())
    heads = [*COLUMNS, *([COMPARED] if compared else [])]
    lines = [f"| condition | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for name, figures in found.items():
        cells = [_listed(figures[key]) for key in ("seeds", "before", "last")]
        cells.append(" / ".join(f"{figures['seconds'][phase]:.2f}" for phase in PHASES))
        cells.append("–" if figures["gap"] is None else f"{figures['gap']:.0e}")
        cells += [_listed([figures["compared"]])] if compared else []
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return ["\n".join(lines)]


def _listed(values: list[float | None]) -> str:
    return ", ".join("–" if each is None else f"{each:g}" for each in values)


def main() -> None:
    """Prints the table; records the figures as JSON."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--command", default="", help="what made the runs; stands in the file")
    given = parser.parse_args()
    found = conditions(given.runs) if given.runs.is_dir() else {}
    if not found:
        parser.error(f"{given.runs}: holds no complete run")
    starts = [row for place in record.places(given.runs) for row in record.read(place).starts]
    command = "; ".join(filter(None, [given.command, "python scripts/summarize_runs.py RUNS"]))
    written = {
        "command": command, "conditions": found,
        **{key: sorted({str(row[key]) for row in starts}) for key in ("versions", "machine")},
    }  # fmt: skip
    print("\n".join(tables(written)))
    if given.record:
        given.record.parent.mkdir(parents=True, exist_ok=True)
        given.record.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
