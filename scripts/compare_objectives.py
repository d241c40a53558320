"""Compares ESR, full rollouts, selectors and a mixture of lengths on the lab pair, in one command.

Two students (the shipped one and `student_seed=5`, trained first where FOLDER does not hold it) by
three seeds by the arms below: 80 steps at a constant rate, so that what a short rollout forgets has
time to show. Every run is an `esr train` of its own with our own decode loop, two at a time on one
thread each; a run that is complete is not repeated, one that was cut off goes on. Then every arm is
timed for 12 steps, one at a time and all in turn, three rounds. At the end a table: accuracy at
step 40 and at step 80 (the mean over seeds with its 95 % interval by Student's t over the runs),
response tokens, and seconds a step (median of the timed steps) against full rollouts.

    python scripts/compare_objectives.py runs/objectives
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import environ
from pathlib import Path
from statistics import mean, median, stdev

from esr_cli.base import files

STEPS, SEEDS, JOBS, ROUNDS, SECOND_STUDENT = 80, (0, 1, 2), 2, 3, 5
KEEP = "loss.keep_tokens=32"
ARMS = {
    "full rollouts": ["+rollout_len=full"],
    "ESR, N=16": ["+rollout_len=16"],
    "ESR, N=32": ["+rollout_len=32"],
    "ESR, N=64": ["+rollout_len=64"],
    "mixture, N=32, 1 in 16 full": ["+rollout_len=32", "lengths=mixture"],
    "growing to N=64": ["+rollout_len=64", "lengths=linear"],
    "32 at random": ["+rollout_len=full", "loss=random_tokens", KEEP],
    "top 32 reverse KL": ["+rollout_len=full", "loss=top_reverse_kl", KEEP],
    "top 32 student entropy": ["+rollout_len=full", "loss=top_student_entropy", KEEP],
    "top 32 teacher entropy": ["+rollout_len=full", "loss=top_teacher_entropy", KEEP],
    "top 32 KL x student entropy": ["+rollout_len=full", "loss=top_kl_student_entropy", KEEP],
    "top 32 both entropies": ["+rollout_len=full", "loss=top_entropies", KEEP],
    "top 32 KL x both entropies": ["+rollout_len=full", "loss=top_kl_entropies", KEEP],
}
# Student's t, 97.5 %, by the number of runs.
T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571}


@dataclass(frozen=True)
class Run:
    """One training run: its arm, its student, its seed, its folder."""

    arm: str
    student: str
    seed: int
    folder: Path

    def command(self, students: dict[str, list[str]]) -> list[str]:
        """What to type, new or to go on with."""
        if files.latest(self.folder):
            return ["train", f"resume={self.folder}"]
        return [
            "train", f"run_dir={self.folder}", f"seed={self.seed}", f"steps={STEPS}",
            "eval_every=40", "save_every=40", "rollout=eager", "tracking=none",
            "tune.schedule=constant", *students[self.student], *ARMS[self.arm],
        ]  # fmt: skip

    def __call__(self, students: dict[str, list[str]]) -> None:
        """Trains unless done; raises where the run fails."""
        if not (self.folder / "summary.json").exists():
            esr(self.command(students))
        print(f"{self.folder.name}: {self.accuracy(STEPS):.3f}", flush=True)

    def accuracy(self, step: int) -> float:
        """The headline figure at a step."""
        rows = files.headlines(files.read_rows(self.folder / "eval.jsonl"))
        return next(row["value"] for row in rows if row["step"] == step)

    def median_of(self, key: str) -> float:
        """The median over the steps of a metric."""
        return median(row[key] for row in files.read_rows(self.folder / "metrics.jsonl"))


def timed(out: Path) -> dict[str, float]:
    """Median seconds a step of each arm, timed in turn; kept in `times.json`."""
    kept = out / "times.json"
    if not kept.exists():
        seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for number in range(ROUNDS):
            for arm, overrides in ARMS.items():
                folder = out / "timed" / f"{number}-{_plain(arm)}"
                shutil.rmtree(folder, ignore_errors=True)
                esr([
                    "train", f"run_dir={folder}", "steps=12", "limit=1", "benchmark.lab.samples=1",
                    "benchmark.lab.max_tokens=1", "rollout=eager", "tracking=none", *overrides,
                ])  # fmt: skip
                # The first step pays for what is set up but once.
                rows = files.read_rows(folder / "metrics.jsonl")[1:]
                seconds[arm] += [row["time/step_s"] for row in rows]
        files.write_json(kept, {arm: median(own) for arm, own in seconds.items()})
    return json.loads(kept.read_text())


def _plain(arm: str) -> str:
    return re.sub("[^A-Za-z0-9]+", "-", arm)


def esr(arguments: list[str]) -> None:
    """Runs `esr ARGUMENTS` on one thread."""
    command = [sys.executable, "-m", "esr_cli.cli", *arguments]
    done = subprocess.run(
        command, env={**environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"esr {' '.join(arguments)}: {done.stderr.strip()}")


def students_in(out: Path) -> dict[str, list[str]]:
    """Both students' overrides; trains the second where it is not there."""
    pair = out / "pair"
    if not (pair / "lab.json").exists():
        print("training the second student", flush=True)
        esr(["lab", f"out={pair}", f"student_seed={SECOND_STUDENT}"])
    return {"shipped": [], "second": [f"pair.student.path={pair / 'student'}"]}


def interval(values: list[float]) -> str:
    """Mean and 95 % interval over runs."""
    half = T_975[len(values)] * stdev(values) / len(values) ** 0.5
    return f"{mean(values):.3f} ± {half:.3f}"


def table(runs: list[Run], seconds: dict[str, float]) -> str:
    """A line an arm: accuracy of each student, tokens and time."""
    lines = [
        "| | student 1, step 40 | step 80 | student 2, step 40 | step 80 | tokens a step | "
        "time a step / full |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in ARMS:
        own = [run for run in runs if run.arm == arm]
        cells = [
            interval([run.accuracy(step) for run in own if run.student == student])
            for student in ("shipped", "second")
            for step in (40, STEPS)
        ]
        tokens = mean(run.median_of("rollout/tokens") for run in own)
        cost = seconds[arm] / seconds["full rollouts"]
        lines.append(f"| {arm} | {' | '.join(cells)} | {tokens:,.0f} | {cost:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Trains what is missing below the folder given, and prints the table."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/objectives").absolute()
    out.mkdir(parents=True, exist_ok=True)
    students = students_in(out)
    # Seed by seed, so that a table of fewer seeds is never far.
    runs = [
        Run(arm, student, seed, out / f"{student}-{seed}-{_plain(arm)}")
        for seed in SEEDS
        for student in students
        for arm in ARMS
    ]
    with ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(lambda run: run(students), runs))
    text = table(runs, timed(out))
    (out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
