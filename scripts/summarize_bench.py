"""The Markdown table of a `bench.json`, as docs/performance.md has it.

    python scripts/summarize_bench.py BENCH_JSON [--record FILE]

Median seconds by phase, the floor of a step, and the time of the peer's step over ours: the median
of its rounds, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

PHASES = ("generate", "score", "train", "sync", "step")


def tables(written: dict[str, Any]) -> list[str]:
    """Seconds by engine and length; then peak memory by process."""
    return [_seconds(written), _memory(written)]


def _seconds(written: dict[str, Any]) -> str:
    heads = ("arm", "N", *PHASES, "floor", *(["TRL's step / ours"] if written["loss"] else []))
    rows = {(row["arm"], row["length"], row["phase"]): row for row in written["rows"]}
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for arm, length in dict.fromkeys((arm, length) for arm, length, _ in rows):
        cells = [f"{rows[arm, length, phase]['seconds']:.3f}" for phase in PHASES]
        floor = rows[arm, length, "step"]["floor"]
        cells.append("" if floor is None else f"{floor:.3f}")
        if written["loss"]:
            ratio = written["ratio_to_trl"].get(arm, {}).get(length)
            cells.append("{ratio:.2f} ({low:.2f} to {high:.2f})".format(**ratio) if ratio else "")
        lines.append(f"| {' | '.join([arm, length, *cells])} |")
    return "\n".join(lines)


def _memory(written: dict[str, Any]) -> str:
    lines = ["| arm | N | process | peak GiB |", "|---|---|---|---|"]
    lines += [
        "| {arm} | {length} | {process} | {gib:.2f} |".format(**row) for row in written["memory"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Prints the tables; writes the file without spaces to FILE."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("bench", type=Path)
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    if not given.bench.is_file():
        parser.error(f"{given.bench}: no such file; esr bench writes bench.json")
    written = json.loads(given.bench.read_text())
    print("\n\n".join(tables(written)))
    if given.record:
        given.record.parent.mkdir(parents=True, exist_ok=True)
        given.record.write_text(json.dumps(written) + "\n")


if __name__ == "__main__":
    main()
