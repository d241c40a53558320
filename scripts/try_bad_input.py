"""Hands bad settings, broken run folders and broken model folders to `esr`, and judges its end.

    python scripts/try_bad_input.py             # everything, on one core in about 20 minutes
    python scripts/try_bad_input.py short=true  # a part, as the tests do
    python scripts/try_bad_input.py kind=runs seed=7 limit_s=300   # on a machine under load

Each case runs the command in a fork of this process, which has imported everything. A case fails
if it prints a traceback, hangs, ends by a signal or with another status than 0, 1 or 2, prints
more than one line of error with status 2, or calls an error of the input's one of the program's.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import bad_folders
import bad_settings

GRACE_S = 15
# With fewer broken folders than this, only the quick commands read them.
SHORT = 6
MOST_BYTES = 8 * 2**30
MARKS = ("Traceback (most recent", "Exception ignored in", "Logging error", "Fatal Python error")
UNEXPECTED = "to report it, send that file"
# A run as small as can be, in this process alone.
SMALL = (
    "rollout=eager", "execution=inline", "tracking=none", "steps=2", "save_every=1", "limit=2",
    "prompts_per_step=2", "benchmark.lab.samples=1", "+rollout_len=4",
)  # fmt: skip
COMMANDS = ("train", "check", "eval", "compare", "probe", "report", "reproduce", "bench", "lab")


@dataclass(frozen=True)
class Ended:
    """How a command ended; `status` is negative for a signal, None if it had to be killed."""

    status: int | None
    out: str
    error: str
    seconds: float


def prepare() -> None:
    """Imports what the commands need, so that a fork starts at once."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "TOKENIZERS_PARALLELISM": "0"}
    importlib.import_module("torch").set_num_threads(1)
    for name in ("hydra", "transformers", "peft", "rich.table", "esr_cli.cli.main"):
        importlib.import_module(name)
    for name in COMMANDS:
        importlib.import_module(f"esr_cli.{name}.command")


def attempt(arguments: Sequence[str], folder: Path, limit_s: float) -> Ended:
    """Runs `esr ARGUMENTS` in a fork of this process, in a folder; Ctrl-C ends it at the limit."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as outputs:
        paths = Path(outputs, "out"), Path(outputs, "error")
        child = os.fork()
        if not child:
            _run(arguments, folder, paths)
        status = _wait(child, limit_s)
        out, error = (path.read_text(errors="replace") for path in paths)
    return Ended(status, out, error, time.monotonic() - began)


def _run(arguments: Sequence[str], folder: Path, paths: tuple[Path, Path]) -> None:
    status = 99
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        os.chdir(folder)
        for number, path in enumerate(paths, 1):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
            os.dup2(descriptor, number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        sys.argv = ["esr", *arguments]
        from esr_cli.cli.main import main

        main()
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 98
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _wait(child: int, limit_s: float) -> int | None:
    for number, seconds in ((signal.SIGINT, limit_s), (signal.SIGKILL, GRACE_S)):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, number)
    os.waitpid(child, 0)
    return None


def verdict(ended: Ended, limit_s: float) -> str:
    """What is wrong with the end of a command; empty if nothing is."""
    text = ended.out + ended.error
    for mark in MARKS:
        if mark in text:
            return f"prints '{mark}'"
    if ended.status is None:
        return "hangs"
    if ended.seconds >= limit_s and "\nstep " not in ended.out:
        return f"hangs for {limit_s:.0f} s"
    if ended.status not in (0, 1, 2):
        return f"ends with status {ended.status}"
    lines = ended.error.rstrip("\n").split("\n")
    first = next((n for n, line in enumerate(lines) if line.startswith("esr: ")), None)
    if ended.status in (1, 2) and first is None:
        return f"status {ended.status} without a line"
    if ended.status == 2 and len(lines) - (first or 0) > 1:
        return "status 2 with more than one line"
    return "calls an error of the input's unexpected" if UNEXPECTED in ended.error else ""


Case = tuple[str, Sequence[str], Path]


def settings_cases(count: int, seed: int, folder: Path) -> Iterator[Case]:
    """The directed bad settings, then random ones: (what is bad, arguments, working folder)."""
    bad_folders.write_files(folder)
    short = random.Random(seed)
    directed = list(bad_settings.DIRECTED)
    for command, *arguments in short.sample(directed, min(count, len(directed))):
        # esr check stops after the gate.
        command = "check" if command == "train" and count < len(directed) else command
        yield "directed", [command, *_small(command, folder), *arguments], folder
    for command, arguments in bad_settings.mutated(count * 3 // 2, seed):
        command = "check" if command == "train" and short.random() < 0.8 else command
        yield "random", [command, *_small(command, folder), *arguments], folder


def _small(command: str, folder: Path) -> Sequence[str]:
    """Arguments that make a command quick, if the bad ones are accepted after all."""
    if command in ("train", "check"):
        return [*SMALL, f"run_dir={tempfile.mkdtemp(dir=folder)}/run"]
    if command == "eval":
        return ["rollout=eager", "execution=inline", "limit=2", "model=esr:student"]
    if command == "probe":
        return [*SMALL, "prompts=2"]
    if command == "reproduce":
        return ["list=true", "scale=lab"]
    if command == "bench":
        return [*SMALL, "rollout_lens=[4]", "engines=[eager]", "repeats=1", "warmup=0"]
    if command == "lab":
        return ["width=32", "layers=1", "teacher_steps=1", "student_steps=1", "solid_steps=1",
                "test_problems=2", "batch=2"]  # fmt: skip
    return []


def run_cases(count: int, seed: int, folder: Path) -> Iterator[Case]:
    """Broken run folders, each with every command that reads one."""
    good = folder / "good"
    ended = attempt(["train", *SMALL, f"run_dir={good}"], folder, 600)
    assert ended.status == 0, ended.error
    commands = ["report", "compare", "train", "eval", "probe"]
    if count < SHORT:
        commands = commands[:3]
    else:
        ended = attempt(["probe", f"run={good}", "prompts=2"], folder, 600)
        assert ended.status == 0, ended.error
    for number, (what, broken) in enumerate(bad_folders.broken_runs(good, count, seed, folder)):
        # The commands write into the folder, so each gets its own copy.
        for command in commands:
            copy = folder / f"run{number}-{command}"
            bad_folders.copy(broken, copy)
            yield f"{what}", bad_folders.reading(command, copy, good), folder
            shutil.rmtree(copy, ignore_errors=True)


def model_cases(count: int, seed: int, folder: Path) -> Iterator[Case]:
    """Broken model folders, as student, as teacher and to be evaluated."""
    from esr_cli.models.loading import resolve

    good = Path(resolve("esr:student"))
    for number, (what, broken) in enumerate(bad_folders.broken_models(good, count, seed, folder)):
        role = ("student", "teacher")[number % 2]
        out = f"run_dir={folder}/model{number}"
        command = "check" if count < SHORT else "train"
        yield what, [command, *SMALL, f"pair.{role}.path={broken}", out], folder
        yield (
            what,
            ["eval", *_small("eval", folder), f"model={broken}", f"{out}-eval"],
            folder,
        )


KINDS = {"settings": (250, settings_cases), "runs": (60, run_cases), "models": (60, model_cases)}


def attack(kinds: Sequence[str], seed: int, share: float, limit_s: float) -> list[str]:
    """Tries a share of the cases of these kinds; returns a line for each that fails."""
    failures: list[str] = []
    statuses: Counter[str] = Counter()
    for kind in kinds:
        most, cases = KINDS[kind]
        with tempfile.TemporaryDirectory() as folder:
            for what, arguments, place in cases(max(1, int(most * share)), seed, Path(folder)):
                ended = attempt(arguments, place, limit_s)
                statuses[f"{kind}, status {ended.status}"] += 1
                if wrong := verdict(ended, limit_s):
                    shown = " ".join(each for each in arguments if each not in SMALL)
                    last = ended.error.strip()[-500:]
                    case = f"{kind}: {wrong}: {what}: esr {shown[:300]!r}"
                    failures.append(f"{case}\n    {last}")
                    print(failures[-1], flush=True)
    print(*(f"{name}: {count}" for name, count in sorted(statuses.items())), sep="\n")
    return failures


def main() -> None:
    """Reads `kind=`, `seed=`, `short=`, `share=` and `limit_s=`; exits with 1 if a case fails."""
    given = dict(each.split("=", 1) for each in sys.argv[1:])
    prepare()
    kinds = [given["kind"]] if "kind" in given else list(KINDS)
    share = 0.04 if given.get("short") == "true" else float(given.get("share", 1))
    limit_s = float(given.get("limit_s", 60))
    failures = attack(kinds, int(given.get("seed", 0)), share, limit_s)
    print(f"{len(failures)} failures")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
