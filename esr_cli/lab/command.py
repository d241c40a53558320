"""`esr lab`: trains the lab's teacher and student in parallel and writes them as a pair."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

from esr_cli.base import failures, files
from esr_cli.base import process as proc
from esr_cli.base.failures import Failure
from esr_cli.config import ConfigError, LabConfig

PAIR = ("teacher", "student", "lab.json")


def run(config: LabConfig, overrides: list[str] | None = None) -> None:
    """Builds the pair in `config.out` unless it exists; refuses a folder with another pair."""
    out = Path(config.out).absolute()
    partial = out.with_name(out.name + ".partial")
    if not _is_complete(out, config):
        if not _is_complete(partial, config):
            if any((out / name).exists() for name in PAIR):
                raise ConfigError(
                    f"out={config.out}: already holds a lab pair; choose another folder"
                )
            _train_both(config, partial)
        out.mkdir(parents=True, exist_ok=True)
        # lab.json last: its presence marks a complete pair.
        for name in PAIR:
            if (partial / name).exists():
                (partial / name).rename(out / name)
        partial.rmdir()
    record = json.loads((out / "lab.json").read_text())
    for role in ("teacher", "student"):
        print(f"{role}: " + ", ".join(f"{how} {share:.3f}" for how, share in record[role].items()))
    print(f"esr train pair.student.path={out}/student pair.teacher.path={out}/teacher")


def _is_complete(folder: Path, config: LabConfig) -> bool:
    record = folder / "lab.json"
    return record.is_file() and json.loads(record.read_text())["settings"] == _settings(config)


def _settings(config: LabConfig) -> dict[str, Any]:
    """The settings without `out`: a pair may be moved."""
    settings = dataclasses.asdict(config)
    del settings["out"]
    return settings


def _train_both(config: LabConfig, partial: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=_build, args=(role, config, partial / role, os.getpid()), name=role, daemon=True
        )
        for role in ("teacher", "student")
    ]
    # Ctrl-C is for this process alone; the others end with it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    for process in processes:
        process.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        for process in processes:
            process.join()
    finally:  # after Ctrl-C this process would wait for one that is stopped
        for process in processes:
            process.kill()
    for process in processes:
        if process.exitcode:
            reason = partial / f"{process.name}.failed"
            why = reason.read_text() if reason.exists() else f"exit status {process.exitcode}"
            raise Failure(f"the {process.name} could not be trained: {why}")
    record: dict[str, Any] = {"settings": _settings(config)}
    for role in ("teacher", "student"):
        record[role] = json.loads((partial / role / "lab_accuracy.json").read_text())
        (partial / role / "lab_accuracy.json").unlink()
    files.write_json(partial / "lab.json", record)


def _build(role: str, config: LabConfig, folder: Path, parent: int) -> None:
    """`build` in a process of its own: leaves the reason of a failure in `ROLE.failed`."""
    try:
        build(role, config, folder, parent)
    except Exception as error:
        folder.with_name(f"{role}.failed").write_text(failures.explain(error))
        raise SystemExit(1) from None


def build(role: str, config: LabConfig, folder: Path, parent: int) -> None:
    """Trains one model on one thread, measures it, and saves it with its tokenizer."""
    proc.end_with(parent)
    import torch

    from esr_cli.lab import training
    from esr_cli.lab.networks import lab_model
    from esr_cli.lab.tokenizers import TOKENIZERS

    torch.set_num_threads(1)
    is_teacher = role == "teacher"
    tokenizer = TOKENIZERS[config.teacher_tokenizer if is_teacher else config.student_tokenizer]()
    seed = config.teacher_seed if is_teacher else config.student_seed
    model = lab_model(config, len(tokenizer), seed)

    def draw(rng: random.Random) -> training.Example:
        return _example(role, config, rng)

    def train(seed: int, rates: list[float], stop_at: float = 2.0) -> float:
        return training.train(role, model, tokenizer, draw, config, seed, rates, stop_at)

    count = config.teacher_steps if is_teacher else config.student_steps
    # Arithmetic is learnt suddenly, at a step that depends on the seed: accuracy ends the stage.
    if train(seed, training.linear_rates(config, count), config.accuracy) < config.accuracy:
        print(f"warning: the {role} has not learnt the arithmetic; give more {role}_steps")
    # A second stage makes the arithmetic reliable: errors would confound the choice of strategy.
    train(seed + 1000, training.falling_rates(config.solid_rate, config.solid_steps))
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    accuracy = _measure(config, folder, tokenizer)
    (folder / "lab_accuracy.json").write_text(json.dumps(accuracy))


def _example(role: str, config: LabConfig, rng: random.Random) -> tuple[str, str]:
    from esr_cli.tasks.lab import careful, problem, quick

    task = problem(rng.randrange(10**9), "train", config.chain_length, config.modulus)
    if role == "teacher":
        return task.question, careful(task, rng, error=config.teacher_error)
    if rng.random() < config.careful_share:
        return task.question, careful(task, rng, slip=config.slip)
    return task.question, quick(task, rng)


def _measure(config: LabConfig, folder: Path, tokenizer: Any) -> dict[str, float]:
    from esr_cli.assembly import preflight
    from esr_cli.benchmarks import catalog
    from esr_cli.benchmarks.exam import judge
    from esr_cli.config import BenchmarkConfig, ModelConfig
    from esr_cli.rollout.eager import EagerEngine

    engine = EagerEngine(path=str(folder), dtype="float32", max_sequences=128)
    accuracies = {}
    for name, temperature, samples in (("greedy", 0.0, 1), ("sampled", 0.7, 4)):
        settings = BenchmarkConfig(
            problems=config.test_problems, chain_length=config.chain_length,
            modulus=config.modulus, temperature=temperature, samples=samples,
            max_tokens=12 * config.chain_length + 20,
        )  # fmt: skip
        benchmark = catalog.load("lab", settings, data_dir=None)
        exam = preflight.exam(benchmark, ModelConfig(str(folder)), tokenizer, seed=0)
        responses = exam.ask(engine, step=0)
        grader = catalog.grader(settings, "none", print)
        accuracies[name] = judge(benchmark, grader, responses, step=0).rows[0]["value"]
    return accuracies
