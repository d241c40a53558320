"""The Markdown tables of a `bench.json`, as docs/performance.md has them.

    python scripts/summarize_bench.py BENCH_JSON [--record FILE]

Median seconds by phase, the floor of a step, and the time of the peer's step over ours: the median
of its rounds, with the lowest and the highest. The recorded file names no folder.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from results import markdown

PHASES = ("generate", "score", "train", "sync", "step")
FOLDERS = re.compile(r"\b(data_dir|out)=\S+")


def tables(written: dict[str, Any]) -> list[str]:
    """Seconds by engine and length; then peak memory by process."""
    return [_seconds(written), _memory(written)]


def _seconds(written: dict[str, Any]) -> str:
    heads = ("arm", "N", *PHASES, "floor", *(["TRL's step / ours"] if written["loss"] else []))
    rows = {(row["arm"], row["length"], row["phase"]): row for row in written["rows"]}
    lines = []
    for arm, length in dict.fromkeys((arm, length) for arm, length, _ in rows):
        found = [rows.get((arm, length, phase)) for phase in PHASES]
        cells = [f"{row['seconds']:.3f}" if row else "–" for row in found]
        floor = rows[arm, length, "step"]["floor"]
        cells.append("" if floor is None else f"{floor:.3f}")
        if written["loss"]:
            ratio = written["ratio_to_trl"].get(arm, {}).get(length)
            cells.append("{ratio:.2f} ({low:.2f} to {high:.2f})".format(**ratio) if ratio else "")
        lines.append([arm, length, *cells])
    return markdown(heads, lines)


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
