"""Trains one model of the lab and measures it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch

from esr_cli.assembly import preflight
from esr_cli.benchmarks import catalog
from esr_cli.benchmarks.exam import judge
from esr_cli.config import BenchmarkConfig, LabConfig, ModelConfig
from esr_cli.lab import training
from esr_cli.lab.cache import ACCURACY
from esr_cli.lab.networks import lab_model
from esr_cli.lab.tokenizers import END, TOKENIZERS, lab_tokenizer
from esr_cli.rollout.eager import EagerEngine
from esr_cli.tasks.lab import careful, problem, quick


def build(role: str, seed: int, config: LabConfig, folder: Path) -> None:
    """Trains one model on one thread, measures it, and saves it with its tokenizer."""
    torch.set_num_threads(1)
    tokenizer = tokenizer_of(role, config)
    model = lab_model(config, len(tokenizer), seed, tokenizer.eos_token_id)

    def draw(rng: random.Random) -> training.Example:
        return example(role, config, rng)

    def train(seed: int, rates: list[float], stop_at: float = 2.0) -> float:
        return training.train(label, model, tokenizer, draw, config, seed, rates, stop_at)

    label = role if config.students == 1 or role == "teacher" else f"{role} {seed}"
    count = config.teacher_steps if role == "teacher" else config.student_steps
    # Arithmetic is learnt suddenly, at a step that depends on the seed: accuracy ends the stage.
    if train(seed, training.linear_rates(config, count), config.accuracy) < config.accuracy:
        print(f"warning: the {label} has not learnt the arithmetic; give more {role}_steps")
    # A second stage makes the arithmetic reliable: errors would confound the choice of strategy.
    train(seed + 1000, training.falling_rates(config.solid_rate, config.solid_steps))
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    (folder / ACCURACY).write_text(json.dumps(_measure(config, folder, tokenizer)))


def tokenizer_of(role: str, config: LabConfig) -> Any:
    """The tokenizer of teacher or student."""
    if config.two_ends:
        return lab_tokenizer(True, END if role == "teacher" else "<eos>")
    name = config.teacher_tokenizer if role == "teacher" else config.student_tokenizer
    return TOKENIZERS[name]()


def example(role: str, config: LabConfig, rng: random.Random) -> training.Example:
    """A question and a response for the training of a model."""
    task = problem(rng.randrange(10**9), "train", config.chain_length, config.modulus)
    if role == "teacher":
        return task.question, careful(
            task, rng, error=config.teacher_error, late_error=config.teacher_late_error
        )
    if rng.random() < config.careful_share:
        response = careful(task, rng, slip=config.slip)
    else:
        response = quick(task, rng)
    if config.two_ends and rng.random() < config.second_end_share:
        response = f"{response} {END}"
    return task.question, response


def _measure(config: LabConfig, folder: Path, tokenizer: Any) -> dict[str, float]:
    engine = EagerEngine(path=str(folder), dtype="float32", max_sequences=128)
    accuracies = {}
    for name, temperature, samples in (("greedy", 0.0, 1), ("sampled", 0.7, 4)):
        settings = BenchmarkConfig(
            problems=config.test_problems, chain_length=config.chain_length,
            modulus=config.modulus, temperature=temperature, samples=samples,
            max_tokens=12 * config.chain_length + 20, stop_tokens=[END],
        )  # fmt: skip
        benchmark = catalog.load("lab", settings, data_dir=None)
        exam = preflight.exam(benchmark, ModelConfig(str(folder)), tokenizer, seed=0)
        responses = exam.ask(engine, step=0)
        grader = catalog.grader(settings, "none", print)
        accuracies[name] = judge(benchmark, grader, responses, step=0).rows[0]["value"]
    return accuracies
