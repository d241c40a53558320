"""Where a step of the lab pair spends its time: operations by their own time, phase by phase.

    python scripts/profile_step.py [N] [key=value ...]

One step of `esr bench` with the eager engine (or the first of `engines=`), at N=64 where none is
given, everything in this one process. The wall time is a median without the profiler; the
operations are those of one step under it, and their times a share of its own, since it slows small
ones down. On a GPU kernels are told beside them, and how long the GPU was at work.
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


def configured(tokens: int, overrides: list[str]) -> Any:
    """The configuration of `esr bench` for one length and everything inline."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        tree = compose("bench", [*INLINE, *overrides])
    config = replace(gate.read(tree, BenchConfig), rollout_lens=[tokens])
    engine = config.engines[0] if any("engines=" in each for each in overrides) else "eager"
    return bench._found(with_random_weights(on_engine(bench._trained(config), engine)))


def tell(phase: str, work: Callable[[], Any]) -> None:
    """The phase's wall time, how many operations it calls, and those that take longest."""
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
    _most(averages, "self_cpu_time_total", "cpu")
    if torch.cuda.is_available():
        kernels = [each for each in averages if each.device_type == DeviceType.CUDA]
        _most(kernels, "self_device_time_total", "gpu")


def _most(events: list[Any], by: str, where: str) -> None:
    found = sorted(events, key=lambda each: -getattr(each, by))
    whole = sum(getattr(each, by) for each in found)
    print(f"  {where}: {whole / 1000:.1f} ms under the profiler")
    for each in found[:SHOWN]:
        print(f"    {getattr(each, by) / whole:5.1%}  {each.count:6,} x  {each.key[:70]}")


def main() -> None:
    """Prints the phases."""
    tokens = int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdigit() else 64
    overrides = [each for each in sys.argv[1:] if "=" in each]
    with tempfile.TemporaryDirectory() as folder:
        config = configured(tokens, overrides)
        made = Ours(config, folder)
        engine, teacher, student = made.parts.engine, made.parts.teacher, made.parts.student
        prompts = made.task.train(0, config.prompts_per_step)
        count = config.prompts_per_step * made.parts.sampling.samples
        sampling = made.parts.sampling.at(0, (tokens,) * count)
        rollouts = engine.generate(prompts, sampling)
        scores = teacher.score(rollouts)
        student.update(rollouts, scores, 0)
        tell("generate", lambda: engine.generate(prompts, sampling))
        tell("score", lambda: teacher.score(rollouts))
        tell("train", lambda: student.update(rollouts, scores, 0))
        tell("sync", lambda: engine.load_weights(student.weights()))
        made.close()


if __name__ == "__main__":
    main()
