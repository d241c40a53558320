"""Compares the time estimate of `esr check` with the seconds that runs take, on this machine.

    python scripts/measure_time_estimate.py MODEL DATA                # the table
    python scripts/measure_time_estimate.py MODEL DATA --record docs/results/time_estimate.json

MODEL is a small language model that is its own teacher, DATA a folder with GSM8K's files. Each run
is estimated right after it ends, so that other load is alike; of its steps the median counts,
and the quickest beside it. A whole run is all steps and two evaluations of such seconds. The load
says how idle the machine was.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from results import markdown

from esr_cli.assembly import preflight
from esr_cli.assembly.data import make_task
from esr_cli.assembly.examiner import Examiner
from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.base import process
from esr_cli.base.files import read_rows, write_json
from esr_cli.check import facts
from esr_cli.check.estimate import PHASES, of_run
from esr_cli.config import TrainConfig, gate
from esr_cli.runs import environment, saved

REAL = (
    "pair=own", "pair.student.path={model}", "pair.teacher.path={model}", "task=gsm8k",
    "benchmark=gsm8k", "limit=4", "benchmark.gsm8k.max_tokens=32", "pair.context_tokens=512",
    "pair.max_response_tokens=256", "rollout.max_sequences=16", "data_dir={data}", "tune=lora",
    "rollout_len=32", "prompts_per_step=8", "steps=4",
)  # fmt: skip
RUNS = {
    "language model, eager": (*REAL, "rollout=eager"),
    "language model, vLLM": (*REAL, "rollout=vllm"),
    "lab pair, N=64": ("rollout_len=64", "rollout=eager", "steps=20"),
    "lab pair, full rollouts": ("rollout_len=full", "rollout=eager", "steps=20"),
}
SHOWN = ("step", "evaluation")
# The note of an evaluation in esr.log, with its seconds.
EVALUATED = re.compile(r"step \d+: \S+ avg@.* problems \((\d+) s\)")


def estimated(folder: Path) -> dict[str, float]:
    """Seconds of each phase and of an evaluation of a run, as `esr check` estimates them."""
    config = gate.typed(saved.settings(folder), TrainConfig)
    both = preflight.check_models(config)
    pairing, task = resolve_pairing(config.pair, *both), make_task(config, *both)
    examiner = Examiner(config, both[0], pairing.stop_ids, print)
    found = of_run(facts.gather(config, *both, pairing, task), examiner.asked())
    examiner.close()
    return {**found.step, "step": sum(found.step.values()), "evaluation": found.evaluating_s / 2}


def taken(overrides: list[str], folder: Path) -> dict[str, list[float]]:
    """Seconds of each phase of every step of a run but the first, and of its evaluations."""
    command = [sys.executable, "-m", "esr_cli.cli", "train", *overrides, f"run_dir={folder}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    steps = read_rows(folder / "metrics.jsonl")[1:]
    found = {name: [row[f"time/{name}_s"] for row in steps] for name in (*PHASES, "step")}
    return found | {
        "evaluation": [*map(float, EVALUATED.findall((folder / "esr.log").read_text()))]
    }


def measure(overrides: list[str]) -> dict[str, Any]:
    """The estimate of a run and what it took: by phase the estimate, the median, the quickest."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["ESR_CACHE"] = cache
        folder = Path(cache) / "run"
        real = taken(overrides, folder)
        # In a process of its own: torch reads the settings of its threads when it is loaded.
        command = [sys.executable, __file__, "--estimate", str(folder)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        guessed = json.loads(lines.splitlines()[-1])
    return {
        "load": [load, os.getloadavg()[0]],
        "phases": {
            name: {
                "estimate": guessed[name], "median": median(seconds), "quickest": min(seconds),
                "ratio": guessed[name] / max(1e-9, median(seconds)),
            }
            for name, seconds in real.items()
        },
    }  # fmt: skip


def tables(written: dict[str, Any]) -> list[str]:
    """A step, an evaluation and the whole run: the estimate, the median, the quickest, a ratio."""
    rows = []
    for name, run in written["runs"].items():
        parts = {phase: run["phases"][phase] for phase in SHOWN}
        for phase, each in {**parts, "whole run": run["whole"]}.items():
            seconds = (f"{each[key]:.3f}" for key in ("estimate", "median", "quickest"))
            rows.append([name, phase, *seconds, f"{each['ratio']:.2f}"])
    heads = ("run", "seconds of", "estimate", "median", "quickest", "estimate / median")
    return [markdown(heads, rows)]


def _whole(run: dict[str, Any]) -> dict[str, float]:
    [steps] = (int(each.partition("=")[2]) for each in run["settings"] if each.startswith("steps="))
    step, evaluation = run["phases"]["step"], run["phases"]["evaluation"]
    whole = {key: steps * step[key] + 2 * evaluation[key] for key in step}
    return whole | {"ratio": whole["estimate"] / whole["median"]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, nargs="?", default=Path())
    parser.add_argument("data", type=Path, nargs="?", default=Path())
    parser.add_argument("--estimate", type=Path, help="only the estimate of the run in this folder")
    parser.add_argument("--only", default="", help="runs whose name holds this text")
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    if given.estimate:
        print(json.dumps(estimated(given.estimate)))
        return
    process.spin_briefly()
    places = {"model": given.model.absolute(), "data": given.data.absolute()}
    written: dict[str, Any] = {
        "command": "python scripts/measure_time_estimate.py MODEL DATA",
        "date": datetime.date.today().isoformat(), "machine": environment.machine(),
        "versions": environment.versions(), "model": given.model.name, "runs": {},
    }  # fmt: skip
    for name, overrides in RUNS.items():
        if given.only in name:
            settings = [each.format(**places) for each in (*overrides, "tracking=none")]
            run = measure(settings) | {"settings": list(overrides)}
            written["runs"][name] = run | {"whole": _whole(run)}
            print(name, json.dumps(written["runs"][name]["phases"]), flush=True)
    print(tables(written)[0])
    if given.record:
        write_json(given.record, written)


if __name__ == "__main__":
    main()
