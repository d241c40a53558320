"""The results of `scripts/gpu_run.sh` in one file, summary.json in its folder, and their tables.

    python scripts/summarize_gpu_run.py FOLDER [--record FILE]

The file has the state of each part (seconds, or the end of its log), the last line of the tests,
what the steps of the training run measured, and the benches. It names no folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

from summarize_bench import FOLDERS, tables

from esr_cli.runs import environment
from esr_cli.runs.metrics import gpu_name

PARTS = ("tests", "train", "bench", "option_*")
# Of the steps of the training run, in the order of the steps.
CURVES = ("train/loss", "time/step_s", "rollout/length_mean", "rollout/eos_rate")
SHOWN = 5


def summary(folder: Path) -> dict[str, Any]:
    """What the parts have left in the folder so far."""
    logs = [log for part in PARTS for log in sorted(folder.glob(f"{part}.log"))]
    written: dict[str, Any] = {
        "command": "scripts/gpu_run.sh", "versions": environment.versions(),
        "machine": environment.machine(), "gpu": gpu_name(),
        "parts": {log.stem: _state(log) for log in logs},
    }  # fmt: skip
    if (folder / "tests.log").exists():
        written["tests"] = _lines(folder / "tests.log")[-1:]
    if (folder / "train" / "metrics.jsonl").exists():
        written["train"] = _curves(folder / "train" / "metrics.jsonl")
    written["benches"] = {
        path.parent.name: _bench(path) for path in sorted(folder.glob("*/bench.json"))
    }
    return written


def _state(log: Path) -> dict[str, Any]:
    done = log.with_suffix(".done")
    if done.exists():
        return {"done": True, "seconds": int(done.read_text())}
    return {"done": False, "last": [FOLDERS.sub(r"\1=FOLDER", line) for line in _lines(log)[-1:]]}


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").strip().splitlines()


def _curves(path: Path) -> dict[str, list[float]]:
    rows = [json.loads(line) for line in _lines(path)]
    return {name: [row[name] for row in rows] for name in CURVES}


def _bench(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found | {"command": FOLDERS.sub(r"\1=FOLDER", found["command"])}


def show(written: dict[str, Any]) -> None:
    """Prints the states of the parts, the first and last steps, and the tables of the benches."""
    for name, state in written["parts"].items():
        ended = f"{state['seconds']} s" if state["done"] else f"not done: {state['last']}"
        print(f"{name}: {ended}")
    print(*written.get("tests", []))
    if curves := written.get("train"):
        losses = curves["train/loss"]
        print(
            f"{len(losses)} steps: median loss {median(losses[:SHOWN]):.4f} in the first {SHOWN}, "
            f"{median(losses[-SHOWN:]):.4f} in the last {SHOWN}; "
            f"{median(curves['time/step_s']):.3f} s a step"
        )
    for name, bench in written["benches"].items():
        print(f"\n{name}: {bench['command']}\n\n" + "\n\n".join(tables(bench)))


def main() -> None:
    """Writes summary.json, prints it as tables, and writes the file to record."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    if not given.folder.is_dir():
        parser.error(f"{given.folder}: no such folder; scripts/gpu_run.sh FOLDER fills it")
    written = summary(given.folder)
    for path in filter(None, (given.folder / "summary.json", given.record)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(written) + "\n")
    show(written)


if __name__ == "__main__":
    main()
