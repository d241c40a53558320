"""Kills `esr reproduce` (SIGKILL) at random moments, goes on, and compares with a whole one.

    python scripts/kill_a_reproduction.py WHOLE OUT [SEED]

WHOLE is the folder of a finished `esr reproduce scale=lab quick=true out=WHOLE`; the killed one
goes to OUT. Compared are all figures of evaluations and probes, all training metrics but seconds
and memory, and the verdicts on claims that are about neither.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from esr_cli.base.files import read_rows

KILLS = 3
LATEST_S = 240
# Seconds and memory are never the same twice, nor is what stands on them.
TIMES = re.compile(r"^(time|memory)/")
TIMED = re.compile(r"faster|memory|\d s\b")


def kill_three_times(command: list[str], moments: list[float]) -> None:
    """Starts the command and kills it so many seconds later, once for each of the moments."""
    for seconds in moments:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        alive = process.poll() is None
        process.kill()
        process.wait()
        print(f"{'killed' if alive else 'had ended'} after {seconds:.0f} s", flush=True)


def figures(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of every table below the folder, by its path, without seconds and memory."""
    found = {}
    for path in sorted(out.rglob("*.jsonl")):
        where = path.relative_to(out)
        if where.name != "environment.jsonl" and where.parts[0] != "timed":
            rows = read_rows(path)
            found[str(where)] = [
                {key: value for key, value in row.items() if not TIMES.match(key)} for row in rows
            ]
    return found


def verdicts(out: Path) -> list[str]:
    """The report's lines on claims, figures included."""
    lines = (out / "report.md").read_text().splitlines()
    told = re.compile(r"\| (shows|does not show|too noisy to say|not measured) \|$")
    return [line for line in lines if told.search(line) and not TIMED.search(line)]


def main() -> None:
    """Exits 1 where anything differs."""
    whole, out = Path(sys.argv[1]), Path(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    draw = random.Random(seed)
    command = [sys.executable, "-m", "esr_cli.cli", "reproduce", "scale=lab", "quick=true"]
    command.append(f"out={out}")
    kill_three_times(command, [draw.uniform(5, LATEST_S) for _ in range(KILLS)])
    subprocess.run(command, check=True)
    one, other = figures(whole), figures(out)
    differ = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    same = verdicts(whole) == verdicts(out)
    rows = sum(map(len, one.values()))
    print(f"{len(one)} tables, {rows} rows; tables that differ: {', '.join(differ) or 'none'}")
    print(f"{len(verdicts(whole))} verdicts, {'the same' if same else 'NOT the same'}")
    raise SystemExit(1 if differ or not same or not rows else 0)


if __name__ == "__main__":
    main()
