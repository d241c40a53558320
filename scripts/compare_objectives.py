"""Compares ESR, full rollouts, selectors and a mixture of lengths on the lab pair, in one command.

Trains two students (the shipped one and `student_seed=5`, which is trained first if FOLDER does not
hold it) with three seeds in each condition below: 80 steps at a constant learning rate, long enough
to show what short rollouts forget. Every run is an `esr train` with the eager engine; two runs at a
time use one thread each. Complete runs are not repeated, and interrupted ones are resumed. Then
every condition is timed for 12 steps, one run at a time, in three rounds. The table shows accuracy
at steps 40 and 80 (mean over seeds, 95 % interval by Student's t over the runs), response tokens,
and seconds per step (median of the timed steps) relative to full rollouts.

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
from esr_cli.base.distributions import t_quantile

STEPS, SEEDS, JOBS, ROUNDS, SECOND_STUDENT = 80, (0, 1, 2), 2, 3, 5
KEEP = "loss.keep_tokens=32"
CONDITIONS = {
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


@dataclass(frozen=True)
class Run:
    """One training run."""

    condition: str
    student: str
    seed: int
    folder: Path

    def command(self, students: dict[str, list[str]]) -> list[str]:
        """The arguments of `esr` that start or resume the run."""
        if files.latest(self.folder):
            return ["train", f"resume={self.folder}"]
        return [
            "train", f"run_dir={self.folder}", f"seed={self.seed}", f"steps={STEPS}",
            "eval_every=40", "save_every=40", "rollout=eager", "tracking=none",
            "tune.schedule=constant", *students[self.student], *CONDITIONS[self.condition],
        ]  # fmt: skip

    def __call__(self, students: dict[str, list[str]]) -> None:
        """Trains unless complete; raises RuntimeError if the run fails."""
        if not (self.folder / "summary.json").exists():
            esr(self.command(students))
        print(f"{self.folder.name}: {self.accuracy(STEPS):.3f}", flush=True)

    def accuracy(self, step: int) -> float:
        """The headline accuracy at a step."""
        rows = files.headlines(files.read_rows(self.folder / "eval.jsonl"))
        return next(row["value"] for row in rows if row["step"] == step)

    def median_of(self, key: str) -> float:
        """The median of a metric over the steps."""
        return median(row[key] for row in files.read_rows(self.folder / "metrics.jsonl"))


def timed(out: Path) -> dict[str, float]:
    """Median seconds per step of each condition, timed in turn; cached in `times.json`."""
    kept = out / "times.json"
    if not kept.exists():
        seconds: dict[str, list[float]] = {condition: [] for condition in CONDITIONS}
        for number in range(ROUNDS):
            for condition, overrides in CONDITIONS.items():
                folder = out / "timed" / f"{number}-{_slug(condition)}"
                shutil.rmtree(folder, ignore_errors=True)
                esr([
                    "train", f"run_dir={folder}", "steps=12", "limit=1", "benchmark.lab.samples=1",
                    "benchmark.lab.max_tokens=1", "rollout=eager", "tracking=none", *overrides,
                ])  # fmt: skip
                # The first step includes the set-up.
                rows = files.read_rows(folder / "metrics.jsonl")[1:]
                seconds[condition] += [row["time/step_s"] for row in rows]
        files.write_json(kept, {condition: median(own) for condition, own in seconds.items()})
    return json.loads(kept.read_text())


def _slug(condition: str) -> str:
    return re.sub("[^A-Za-z0-9]+", "-", condition)


def esr(arguments: list[str]) -> None:
    """Runs `esr ARGUMENTS` on one thread."""
    command = [sys.executable, "-m", "esr_cli.cli", *arguments]
    done = subprocess.run(
        command, env={**environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"esr {' '.join(arguments)}: {done.stderr.strip()}")


def students_in(out: Path) -> dict[str, list[str]]:
    """Both students' overrides; trains the second one if it is missing."""
    pair = out / "pair"
    if not (pair / "lab.json").exists():
        print("training the second student", flush=True)
        esr(["lab", f"out={pair}", f"student_seed={SECOND_STUDENT}"])
    return {"shipped": [], "second": [f"pair.student.path={pair / 'student'}"]}


def interval(values: list[float]) -> str:
    """Mean and 95 % interval over runs."""
    half = t_quantile(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return f"{mean(values):.3f} ± {half:.3f}"


def table(runs: list[Run], seconds: dict[str, float]) -> str:
    """One line per condition: accuracy of each student, tokens and time."""
    lines = [
        "| | student 1, step 40 | step 80 | student 2, step 40 | step 80 | tokens a step | "
        "time a step / full |",
        "|---|---|---|---|---|---|---|",
    ]
    for condition in CONDITIONS:
        own = [run for run in runs if run.condition == condition]
        cells = [
            interval([run.accuracy(step) for run in own if run.student == student])
            for student in ("shipped", "second")
            for step in (40, STEPS)
        ]
        tokens = mean(run.median_of("rollout/tokens") for run in own)
        cost = seconds[condition] / seconds["full rollouts"]
        lines.append(f"| {condition} | {' | '.join(cells)} | {tokens:,.0f} | {cost:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Trains the missing runs in the given folder, and prints the table."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/objectives").absolute()
    out.mkdir(parents=True, exist_ok=True)
    students = students_in(out)
    # Ordered by seed, so that the first seeds are complete early.
    runs = [
        Run(condition, student, seed, out / f"{student}-{seed}-{_slug(condition)}")
        for seed in SEEDS
        for student in students
        for condition in CONDITIONS
    ]
    with ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(lambda run: run(students), runs))
    text = table(runs, timed(out))
    (out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
