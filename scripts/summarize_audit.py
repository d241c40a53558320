"""Tables of the audit in the lab, from the runs of `esr reproduce scale=audit`.

    python scripts/summarize_audit.py [runs/reproduce-audit] [--record docs/results/audit.json]

A row is a condition, with the values of its seeds: accuracy by the last and by the first box, the
shares of responses that end, that repeat themselves and that hold several boxes, the mean length in
tokens at the last step, and the step from which on hardly any training rollout ended (full rollouts
alone; below LEAST for the rest of the run). Values are percent unless they are tokens or steps.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esr_cli.base.files import read_rows
from esr_cli.runs import record

LEAST = 0.05
METRICS = {
    "last box": "avg@1", "first box": "first_boxed@1", "ended": "ended", "repeats": "repeats",
    "length": "length_tokens/mean",
}  # fmt: skip
COLUMNS = (*METRICS, "several boxes", "untrained", "stopped ending")


def summary(run: Path) -> dict[str, float | int | None]:
    """The figures of one complete run at its last step, by column."""
    found = record.read(run)
    step = max(row["step"] for row in found.evals)
    at = {(row["step"], row["metric"]): row["value"] for row in found.evals}
    figures: dict[str, float | int | None] = {
        column: round(at[step, metric] * (1 if column == "length" else 100), 1)
        for column, metric in METRICS.items()
    }
    boxes = found.boxes[found.benchmark, step]
    figures["several boxes"] = round(100 * sum(boxes.values()) / len(boxes), 1)
    figures["untrained"] = round(100 * at[0, "avg@1"], 1)
    full = found.config["rollout"]["max_tokens"] == "full"
    figures["stopped ending"] = stopped(read_rows(run / "metrics.jsonl")) if full else None
    return figures


def stopped(rows: Sequence[dict[str, Any]]) -> int | None:
    """The first step from which on less than LEAST of the rollouts end; None if there is none."""
    first = None
    for row in rows:
        if row["rollout/eos_rate"] >= LEAST:
            first = None
        elif first is None:
            first = row["step"]
    return first


def conditions(out: Path) -> dict[str, dict[str, list[float | int | None]]]:
    """The values of all seeds by condition and column, in the order of the matrix's cells."""
    found: dict[str, dict[str, list[float | int | None]]] = {}
    for cell in sorted((out / "runs").iterdir()):
        seeds = sorted(cell.glob("seed=*"))
        figures = [summary(run) for run in seeds if (run / "summary.json").is_file()]
        if figures:
            found[cell.name] = {name: [each[name] for each in figures] for name in COLUMNS}
    return found


def table(found: dict[str, dict[str, list[float | int | None]]]) -> str:
    """The conditions as a Markdown table."""
    lines = [f"| condition | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for name, columns in found.items():
        cells = [", ".join("–" if v is None else f"{v:g}" for v in columns[key]) for key in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table; records the values as JSON."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/reproduce-audit"))
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    found = conditions(given.out)
    print(table(found))
    if given.record:
        given.record.parent.mkdir(parents=True, exist_ok=True)
        command = "esr reproduce scale=audit; python scripts/summarize_audit.py"
        written = {"command": command, "conditions": found}
        lines = json.dumps(written, indent=1).replace("\n    ", " ").replace("\n   ]", "]")
        given.record.write_text(lines + "\n")


if __name__ == "__main__":
    main()
