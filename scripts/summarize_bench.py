"""The Markdown tables of a `bench.json`, as docs/performance.md has them.

    python scripts/summarize_bench.py BENCH_JSON [--record FILE]

Median seconds by phase, the floor of a step, and the peer's time over ours, for scoring + training
and for the step: the median of the rounds, with the lowest and the highest. The recorded file names
no folder.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from statistics import median
from typing import Any

from results import markdown

PHASES = ("generate", "score", "train", "score+train", "sync", "step")
# The phases whose ratio to the peer has a column.
COMPARED = {"score+train": "TRL's score+train / ours", "step": "TRL's step / ours"}
FOLDERS = re.compile(r"\b(data_dir|out)=\S+")


def tables(written: dict[str, Any]) -> list[str]:
    """Seconds by engine and length; then peak memory by process."""
    return [_seconds(written), _memory(written)]


def _seconds(written: dict[str, Any]) -> str:
    ratios = COMPARED.values() if written["loss"] else ()
    heads = ("arm", "N", *PHASES, "floor", *ratios)
    each = {(row["arm"], row["length"], row["phase"]): row["all"] for row in written["rows"]}
    floors = {(r["arm"], r["length"]): r["floor"] for r in written["rows"] if r["phase"] == "step"}
    lines = []
    for (arm, length), floor in floors.items():
        parts = (each[arm, length, "score"], each[arm, length, "train"])
        each[arm, length, "score+train"] = [sum(both) for both in zip(*parts, strict=True)]
        found = [each.get((arm, length, phase)) for phase in PHASES]
        cells = [f"{median(seconds):.3f}" if seconds else "–" for seconds in found]
        cells.append("" if floor is None else f"{floor:.3f}")
        lines.append([arm, length, *cells])
    if written["loss"]:
        for line in lines:
            line += [_ratio(each, line[0], line[1], phase) for phase in COMPARED]
    return markdown(heads, lines)


def _ratio(each: dict[tuple[str, str, str], list[float]], arm: str, length: str, phase: str) -> str:
    peer = each.get(("trl", length, phase))
    if arm == "trl" or not peer:
        return ""
    found = [a / b for a, b in zip(peer, each[arm, length, phase], strict=True)]
    return f"{median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def _memory(written: dict[str, Any]) -> str:
    rows = ([r["arm"], r["length"], r["process"], f"{r['gib']:.2f}"] for r in written["memory"])
    return markdown(("arm", "N", "process", "peak GiB"), rows)


def main() -> None:
    """Prints the tables; writes the file."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("bench", type=Path)
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    try:
        written = json.loads(given.bench.read_text())
        written["command"] = FOLDERS.sub(r"\1=FOLDER", written["command"])
        print("\n\n".join(tables(written)))
    except OSError as error:
        parser.error(
            f"{given.bench}: cannot be read ({error.strerror}); esr bench writes bench.json"
        )
    except (ValueError, LookupError, TypeError):
        parser.error(f"{given.bench}: is no bench.json of this version; run esr bench again")
    if given.record:
        given.record.parent.mkdir(parents=True, exist_ok=True)
        given.record.write_text(json.dumps(written) + "\n")


if __name__ == "__main__":
    main()
