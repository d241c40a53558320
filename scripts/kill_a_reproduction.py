"""Kills `esr reproduce` (SIGKILL) at random times, resumes it, and compares the results.

    python scripts/kill_a_reproduction.py WHOLE OUT [SEED]

WHOLE is the folder of an uninterrupted `esr reproduce scale=lab quick=true`; the killed
one writes to OUT. The script compares all figures of evaluations and probes, all training metrics
except time and memory, and the verdicts on claims about other quantities.
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
from esr_cli.report.verdicts import VERDICTS

KILLS = 3
LATEST_S = 240
# Time and memory vary between runs, and so do claims about them.
TIMES = re.compile(r"^(time|memory)/")
TIMED = re.compile(r"faster|memory|\d s\b")


def run_and_kill(command: list[str], moments: list[float]) -> None:
    """Starts the command once for each of `moments` and kills it after that many seconds."""
    for seconds in moments:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        alive = process.poll() is None
        process.kill()
        process.wait()
        print(f"{'killed' if alive else 'already ended'} after {seconds:.0f} s", flush=True)


def figures(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of every table below the folder, by path, without time and memory."""
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
    """The report's lines on claims, including their figures."""
    lines = (out / "report.md").read_text().splitlines()
    claim = re.compile(rf"\| ({'|'.join(VERDICTS)}) \|$")
    return [line for line in lines if claim.search(line) and not TIMED.search(line)]


def main() -> None:
    """Exits with 1 if anything differs."""
    whole, out = Path(sys.argv[1]), Path(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    draw = random.Random(seed)
    command = [sys.executable, "-m", "esr_cli.cli", "reproduce", "scale=lab", "quick=true"]
    command.append(f"run_dir={out}")
    run_and_kill(command, [draw.uniform(5, LATEST_S) for _ in range(KILLS)])
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
