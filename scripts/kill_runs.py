"""Attacks runs of the lab pair at random moments, and compares each with an unbroken run.

    python scripts/kill_runs.py OUT [--kills 20] [--stops 10] [--seed 0] [--kinds plain,stale,...]
                                [--steps 12] [--record docs/results/kill_runs.json]

An attack sends SIGKILL or SIGSTOP to one worker, to the trainer, or to all processes of a run. A
stopped worker stays stopped: the run must notice. The trainer and the whole group continue after
HOLD_S seconds, which is longer than the silence that is allowed: no healthy worker may be killed.
A run that ended is resumed, or started again if it had no checkpoint. In the end the weights must
be equal bit for bit, and all rows but for times and memory. The script exits with 1 if one differs
or a run hangs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from esr_cli.base import files
from esr_cli.base.process import descendants
from esr_cli.runs.folder import CUT_BACK

SILENCE_S, HOLD_S = 6, 10
BASE = (
    "tracking=none", "+rollout_len=8", "prompts_per_step=4", "limit=4", "benchmark.lab.samples=1",
    "save_every=3", f"execution.silence_s={SILENCE_S}",
)  # fmt: skip
KINDS = {
    "plain": ("rollout=eager",),
    "stale": ("rollout=eager", "rollout.staleness=1"),
    "mixture": ("rollout=eager", "lengths=mixture", "lengths.full_share=0.25"),
    "lora": ("rollout=eager", "tune=lab_lora"),
    "vllm": ("rollout=vllm",),
}
TARGETS = ("all", "engine", "teacher", "trainer")
# Seconds after which a run counts as hung.
HUNG_S = 600


@dataclass
class Attack:
    """A signal to a target after a number of steps and `delay_s` seconds, and what came of it."""

    kind: str
    signal: str
    target: str
    after_step: int
    delay_s: float
    outcome: str = ""
    same_weights: bool = False
    same_rows: bool = False
    seconds: float = 0.0


def plan(kinds: list[str], kills: int, stops: int, steps: int, seed: int) -> list[Attack]:
    """Attacks at random moments; kinds and targets take turns. Step 0 is the start of the run."""
    draw = random.Random(seed)
    attacks = []
    for number in range(kills + stops):
        name = "SIGKILL" if number < kills else "SIGSTOP"
        turn = number if number < kills else number - kills
        # Every kind goes through all targets, and begins at another one than its neighbour.
        target = TARGETS[(turn % len(kinds) + turn // len(kinds)) % len(TARGETS)]
        after, delay = draw.randrange(steps), draw.uniform(0, 0.3)
        if after == 0:
            delay = draw.uniform(0, 8)
        attacks.append(Attack(kinds[turn % len(kinds)], name, target, after, delay))
    return attacks


def command(*arguments: str) -> list[str]:
    """The command line of `esr train`."""
    return [sys.executable, "-m", "esr_cli.cli", "train", *arguments]


def start(run: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    """Starts a run in a session of its own; its output is appended to a file beside its folder."""
    with run.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            command(*arguments), stdout=log, stderr=log, start_new_session=True
        )  # fmt: skip


def wait_for_moment(attack: Attack, run: Path, process: subprocess.Popen[bytes]) -> None:
    """Returns at the moment of the attack, or when the run has ended."""
    metrics = run / "metrics.jsonl"
    while process.poll() is None and attack.after_step:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= attack.after_step:
            break
        time.sleep(0.01)
    time.sleep(attack.delay_s)


def worker_ids(process: subprocess.Popen[bytes]) -> list[int]:
    """The ids of engine and teacher, as far as they have been started."""
    spawned = []
    for child in sorted(descendants(process.pid)):
        path = Path(f"/proc/{child}/cmdline")
        if path.exists() and b"spawn_main" in path.read_bytes():
            spawned.append(child)
    return spawned[:2]


def strike(attack: Attack, process: subprocess.Popen[bytes]) -> None:
    """Sends the signal; continues a stopped trainer or group after `HOLD_S`."""
    if attack.target in ("engine", "teacher"):
        index = ("engine", "teacher").index(attack.target)
        while process.poll() is None and len(worker_ids(process)) < 2:
            time.sleep(0.01)
        if process.poll() is None:
            os.kill(worker_ids(process)[index], signal.Signals[attack.signal])
        return
    hit = [process.pid, *(descendants(process.pid) if attack.target == "all" else [])]
    if process.poll() is None:
        send(hit, signal.Signals[attack.signal])
        if attack.signal == "SIGSTOP":
            time.sleep(HOLD_S)
            send(hit, signal.SIGCONT)


def send(ids: list[int], number: int) -> None:
    """Sends a signal to processes, some of which may have ended."""
    for pid in ids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end(process: subprocess.Popen[bytes]) -> int | None:
    """The exit status; None, after killing it, of a run that hangs."""
    try:
        return process.wait(HUNG_S)
    except subprocess.TimeoutExpired:
        send([process.pid, *descendants(process.pid)], signal.SIGKILL)
        process.wait()
        return None


def carry_out(attack: Attack, run: Path, arguments: list[str], whole: Path) -> None:
    """Carries out the attack, takes the run to its end, and compares it with `whole`."""
    began = time.monotonic()
    process = start(run, [*arguments, f"run_dir={run}"])
    wait_for_moment(attack, run, process)
    early = process.poll() is not None
    strike(attack, process)
    status = end(process)
    attack.outcome = "ended before" if early else f"status {status}"
    if status is None:
        attack.outcome = "HUNG"
        return
    if status != 0:
        last = files.latest(run)
        again = [f"resume={run}"] if last else [*arguments, f"run_dir={run}"]
        attack.outcome += f", {last.name} resumed" if last else ", started again"
        if end(start(run, again)) != 0:
            attack.outcome += ", FAILED"
            return
    log = (run / "esr.log").read_text()
    attack.outcome += ", worker restarted" if "; restarted" in log else ""
    if attack.target in ("all", "trainer") and "restarted" in log:
        attack.outcome += ", A HEALTHY WORKER WAS KILLED"
    attack.same_weights, attack.same_rows = same_weights(run, whole), same_rows(run, whole)
    attack.seconds = round(time.monotonic() - began, 1)


def same_weights(one: Path, other: Path) -> bool:
    """Whether the students and all tensors of the last checkpoints are equal bit for bit."""
    names = ["student/model.safetensors"]
    names.append(f"checkpoints/{str(files.latest(other)).rpartition('/')[2]}/tensors.safetensors")
    for name in names:
        a, b = load_file(one / name), load_file(other / name)
        if a.keys() != b.keys() or not all(torch.equal(a[key], b[key]) for key in a):
            return False
    return True


def same_rows(one: Path, other: Path) -> bool:
    """Whether all records are equal, but for times and memory."""
    return all(timeless(one / name) == timeless(other / name) for name in CUT_BACK)


def timeless(path: Path) -> list[dict[str, object]]:
    """The rows of a file without times and memory."""
    return [
        {key: value for key, value in row.items() if not key.startswith(("time/", "memory/"))}
        for row in files.read_rows(path)
    ]


def right(attack: Attack) -> bool:
    """Whether the run ended as an unbroken one."""
    clean = "HEALTHY" not in attack.outcome
    return attack.same_weights and attack.same_rows and clean


def main() -> None:
    """Prints a line per attack; exits with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--stops", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    attacks = plan(given.kinds.split(","), given.kills, given.stops, given.steps, given.seed)
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    for number, attack in enumerate(attacks):
        arguments = [*BASE, *KINDS[attack.kind], f"steps={given.steps}"]
        whole = out / f"whole-{attack.kind}-{given.steps}"
        if not (whole / "summary.json").exists():
            shutil.rmtree(whole, ignore_errors=True)
            if end(start(whole, [*arguments, f"run_dir={whole}"])) != 0:
                raise SystemExit(f"the unbroken run failed: {whole.with_suffix('.log')}")
        run = out / f"attacked-{given.seed}-{number:02d}"
        shutil.rmtree(run, ignore_errors=True)
        run.with_suffix(".log").unlink(missing_ok=True)
        carry_out(attack, run, arguments, whole)
        at = f"step {attack.after_step} + {attack.delay_s:.2f} s"
        verdict = "same" if right(attack) else "DIFFERS"
        print(
            f"{number + 1:2d} {attack.kind:8} {attack.signal} {attack.target:8} {at:18} "
            f"{attack.outcome}: {verdict} ({attack.seconds} s)", flush=True,
        )  # fmt: skip
        if given.record:
            command = f"python scripts/kill_runs.py OUT --record {given.record}"
            found = {"command": command, "seed": given.seed, "steps": given.steps}
            found["attacks"] = [asdict(done) for done in attacks[: number + 1]]
            given.record.parent.mkdir(parents=True, exist_ok=True)
            given.record.write_text(json.dumps(found, indent=1) + "\n")
    wrong = sum(not right(attack) for attack in attacks)
    print(f"{len(attacks)} attacks, {len(attacks) - wrong} ended with the same bits and rows")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
