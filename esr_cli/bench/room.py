"""Which arms of a bench fit into memory side by side, estimated before any model loads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from esr_cli.assembly import memory
from esr_cli.bench.arms import PEER, peer_uses_vllm
from esr_cli.bench.ours import on_engine
from esr_cli.config import BenchConfig, ConfigError, TrainConfig
from esr_cli.models import loading
from esr_cli.models.outlines import skeleton
from esr_cli.models.shapes import whole_cache
from esr_cli.types import Prompt

# GiB of a process that has imported its libraries, or that has a context on a GPU.
PROCESS_GIB = 0.5
# What is measured of a model of 135M parameters on a CPU, over its estimate from the shapes: freed
# memory that is kept, and results of single operations.
MORE = 1.3
# GiB more on a CPU: vLLM's compiler and buffers, and the libraries of the peer.
VLLM_GIB, PEER_GIB = 1.3, 0.4
# What the peer's trainer does not hold: it generates with the trained weights themselves, and
# every response has its own copy of its prompt.
NOT_IN_PEER = ("engine's weights", "weights being handed over", "masks of shared prompts")


@dataclass(frozen=True)
class Estimate:
    """GiB of an arm at the longest rollout length, and of its weights and optimizer alone."""

    gib: float
    sure: float


def estimates(config: BenchConfig, base: TrainConfig, prompts: list[Prompt]) -> dict[str, Estimate]:
    """The memory of each arm; `prompts` are those of one step, the models may lack weights."""
    models = skeleton(base.pair.student), skeleton(base.pair.teacher)
    tokens = max(each.longest for each in prompts)
    on_cpu = loading.pick_device(base.execution.device) == "cpu"
    found = {}
    for engine in config.engines:
        needs = _needs(on_engine(base, engine), models, tokens)
        places = (base.execution.engine, base.execution.teacher)
        libraries = PROCESS_GIB * (1 + sum(place != "inline" for place in places))
        if engine == "vllm" and on_cpu:
            libraries += VLLM_GIB + _whole_cache(base, models[0])
        found[engine] = _sum(needs, libraries)
    if config.peer:
        # It passes the whole batch at once.
        batch = replace(base, tune=replace(base.tune, micro_batch_tokens=2**31 - 1))
        needs = [
            each for each in _needs(on_engine(batch, "eager"), models, tokens)
            if each.part not in NOT_IN_PEER
        ]  # fmt: skip
        libraries = PROCESS_GIB + PEER_GIB * on_cpu
        found[PEER] = _sum(needs, libraries + _peers_engine(config))
    return found


def groups(config: BenchConfig, found: dict[str, Estimate], free: float) -> list[list[str]]:
    """The arms by what is in memory at the same time: all, or one after the other.

    `free` is the memory where the student computes, in GiB. Prints the decision in one line; raises
    `ConfigError` if an arm does not fit alone.
    """
    for name, each in found.items():
        if each.sure > free:
            key = f"peer={name}" if name == PEER else f"engines=[{name}]"
            raise ConfigError(
                f"{key}: its weights and optimizer take {each.sure:.1f} GiB of {free:.1f} GiB of "
                f"free memory; give smaller models, or leave it out"
            )
    needed = sum(each.gib for each in found.values())
    turns = needed > free if config.in_turns is None else config.in_turns
    turns = turns and len(found) > 1
    parts = " + ".join(f"{name} {each.gib:.1f}" for name, each in found.items())
    order = "one arm after the other" if turns else "all arms side by side"
    large = [name for name, each in found.items() if each.gib > free]
    order += f"; {' and '.join(large)} may not fit even alone" if large else ""
    print(f"memory: about {parts} GiB of {free:.1f} GiB of free memory: {order}", flush=True)
    return [[name] for name in found] if turns else [list(found)]


def _needs(config: TrainConfig, models: tuple[Any, Any], prompt_tokens: int) -> list[memory.Need]:
    student, teacher = models
    return memory.needs(config, student, [teacher], prompt_tokens, config.rollout_tokens)


def _whole_cache(config: TrainConfig, student: Any) -> float:
    """GiB of the cache that vLLM asks for on a CPU, whatever the bench makes use of."""
    size = 2 if memory.dtype_of(config) == "bfloat16" else 4
    shape, most = student.config.get_text_config(), config.rollout.max_sequences
    return whole_cache(shape, size, config.pair.context_tokens, most) / memory.GIB


def _sum(needs: list[memory.Need], more: float) -> Estimate:
    sure = sum(each.at_n for each in needs if each.sure)
    return Estimate(MORE * sum(each.at_n for each in needs) + more, sure)


def _peers_engine(config: BenchConfig) -> float:
    """GiB that the peer's vLLM reserves: its share of the GPU, whatever the model takes."""
    if not peer_uses_vllm(config):
        return 0.0
    total = torch.cuda.get_device_properties(0).total_memory
    return config.rollout.gpu_memory_utilization * total / memory.GIB
