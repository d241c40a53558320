"""Profiles a training step of the lab pair: the slowest operations of each phase.

    python scripts/profile_step.py [N] [key=value ...]

Runs one step of `esr bench` with the eager engine (or the first of `engines=`), at N=64 by default,
in a single process. The wall time is a median without the profiler. The operations are those of one
profiled step; their times are shares of the profiled total, since profiling slows down small
operations. On a GPU, kernels and total GPU time are printed too.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from hydra import compose, initialize_config_dir  # noqa: TID251
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from esr_cli.assembly.random_pair import with_random_weights
from esr_cli.base import process
from esr_cli.base.files import conf_dir
from esr_cli.bench import command as bench
from esr_cli.bench.ours import Ours, on_engine
from esr_cli.config import BenchConfig, gate

REPEATS, SHOWN = 9, 7
INLINE = ("execution.engine=inline", "execution.teacher=inline")


def configured(tokens: int, overrides: list[str]) -> tuple[Any, int | None]:
    """The configuration of `esr bench` for one length and everything inline; `prompt_tokens`."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        tree = compose("bench", [*INLINE, *overrides])
    config = replace(gate.read(tree, BenchConfig), rollout_lens=[tokens])
    engine = config.engines[0] if any("engines=" in each for each in overrides) else "eager"
    ready = bench._found(with_random_weights(on_engine(bench._trained(config), engine)))
    return ready, config.prompt_tokens


def print_phase(phase: str, work: Callable[[], Any]) -> None:
    """Prints the wall time of a phase, its number of operations, and the slowest ones."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        process.synchronize()
        seconds.append(time.perf_counter() - began)
    kinds = [ProfilerActivity.CPU]
    kinds += [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    with profile(activities=kinds) as profiled:
        work()
        process.synchronize()
    averages = profiled.key_averages()
    calls = sum(each.count for each in averages if each.self_cpu_time_total)
    print(f"\n{phase}: {1000 * median(seconds):.1f} ms, {calls:,} calls")
    _print_slowest(averages, "self_cpu_time_total", "cpu")
    if torch.cuda.is_available():
        kernels = [each for each in averages if each.device_type == DeviceType.CUDA]
        _print_slowest(kernels, "self_device_time_total", "gpu")


def _print_slowest(events: list[Any], by: str, where: str) -> None:
    slowest = sorted(events, key=lambda each: -getattr(each, by))
    total = sum(getattr(each, by) for each in slowest)
    print(f"  {where}: {total / 1000:.1f} ms under the profiler")
    for each in slowest[:SHOWN]:
        print(f"    {getattr(each, by) / total:5.1%}  {each.count:6,} x  {each.key[:70]}")


def main() -> None:
    """Profiles and prints all phases."""
    tokens = int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdigit() else 64
    overrides = [each for each in sys.argv[1:] if "=" in each]
    with tempfile.TemporaryDirectory() as folder:
        config, prompt_tokens = configured(tokens, overrides)
        ours = Ours(config, folder, prompt_tokens)
        engine, teacher, student = ours.parts.engine, ours.parts.teacher, ours.parts.student
        prompts = ours.task.train(0, config.prompts_per_step)
        count = config.prompts_per_step * ours.parts.sampling.samples
        sampling = ours.parts.sampling.at(0, (tokens,) * count)
        rollouts = engine.generate(prompts, sampling)
        scores = teacher.score(rollouts)
        student.update(rollouts, scores, 0)
        print_phase("generate", lambda: engine.generate(prompts, sampling))
        print_phase("score", lambda: teacher.score(rollouts))
        print_phase("train", lambda: student.update(rollouts, scores, 0))
        print_phase("sync", lambda: engine.load_weights(student.weights()))
        ours.close()


if __name__ == "__main__":
    main()
