"""Memory by part, at N and for full rollouts, estimated from the shapes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from esr_cli.config import TrainConfig
from esr_cli.config.finding import Finding
from esr_cli.distill.divergence import Options
from esr_cli.models import loading
from esr_cli.models.outlines import adapted_layers, trained_parameters
from esr_cli.models.shapes import ENGINE_ROOM, cache_bytes, engine_cache, sizes

GIB = 2**30
# fp32 copies of a tile's logits that are alive at once in the divergence.
TILE_COPIES = 12


@dataclass(frozen=True)
class Need:
    """GiB of one part, for rollouts of N tokens and for full ones; `sure` ones follow exactly."""

    part: str
    at_n: float
    full: float
    sure: bool


def needs(
    config: TrainConfig, student: Any, teacher: Any, prompt_tokens: int, longest: int
) -> list[Need]:
    """By part: weights, what the optimizer keeps, the engine's cache, activations, the loss.

    `student` and `teacher` are models without weights; `longest` is N.
    """
    size = 2 if _dtype(config) == "bfloat16" else 4
    full = config.pair.max_response_tokens

    def both(part: str, size_at: Callable[[int], float]) -> Need:
        return Need(part, size_at(longest) / GIB, size_at(full) / GIB, sure=False)

    def fixed(part: str, count: float) -> Need:
        return Need(part, count / GIB, count / GIB, sure=True)

    own, theirs = _count(student), _count(teacher)
    rows = config.prompts_per_step * config.rollouts_per_prompt

    def micro_batch(n: int) -> int:
        sequence = prompt_tokens + n
        return min(rows * sequence, max(config.tune.micro_batch_tokens, sequence))

    cache, reserved = cache_bytes(_shape(student), size), _reserved(config, student, size)
    columns = _shape(student).vocab_size
    tile = Options(tile_tokens=config.loss.tile_tokens).tile(columns) * columns * 4 * TILE_COPIES
    return [
        fixed("student's weights", own * size),
        fixed("optimizer and gradients", _optimizer(config, student, size)),
        fixed("teacher's weights", theirs * size),
        fixed("engine's weights", own * size),
        both("engine's cache", lambda n: reserved or cache * rows * (prompt_tokens + n)),
        both("activations", lambda n: _activations(config, student, size) * micro_batch(n)),
        fixed("weights on their way", _handed_over(config, student, size)),
        both("states of the teacher", lambda n: rows * n * _shape(teacher).hidden_size * size),
        both("logits of a tile", lambda _: tile),
    ]


def against_machine(config: TrainConfig, found: list[Need]) -> list[Finding]:
    """The sum against the memory there is; an error where what is sure does not fit."""
    on_gpu = torch.cuda.is_available() and config.execution.device != "cpu"
    have = torch.cuda.mem_get_info()[1] / GIB if on_gpu else _ram_gib()
    where = f"{have:.0f} GiB of {'GPU ' if on_gpu else ''}memory"
    sure = sum(need.at_n for need in found if need.sure)
    at_n, full = sum(need.at_n for need in found), sum(need.full for need in found)
    if sure > have:
        most = max(found, key=lambda need: need.at_n)
        said = (
            f"pair.student.path={config.pair.student.path}: weights and optimizer take "
            f"{sure:.1f} GiB ({most.part} {most.at_n:.1f}) of {where}"
        )
        return [Finding("error", "memory", said, ", or ".join(_lighter(config)))]
    said = f"about {at_n:.1f} GiB at N, {full:.1f} GiB for full rollouts; {where}"
    if at_n > have:
        return [Finding("warning", "memory", f"{said}: it may not fit", _remedy(config))]
    if full > have:
        said = f"{said}: full rollouts may not fit"
        return [Finding("warning", "memory", said, "keep N short")]
    return [Finding("ok", "memory", said)]


def _lighter(config: TrainConfig) -> list[str]:
    """What makes weights and optimizer smaller."""
    ways = [] if config.tune.method == "lora" else ["tune=lora"]
    ways += [] if _dtype(config) == "bfloat16" else ["pair.dtype=bfloat16"]
    return [*ways, "smaller models"]


def _remedy(config: TrainConfig) -> str:
    tune = config.tune
    ways = [] if tune.gradient_checkpointing else ["tune.gradient_checkpointing=true"]
    ways += [f"tune.micro_batch_tokens={tune.micro_batch_tokens // 4}", *_lighter(config)]
    return f"try {', or '.join(ways)}"


def _reserved(config: TrainConfig, student: Any, size: int) -> float:
    """Bytes that vLLM takes beside its weights as it starts on a device; on a CPU it takes none."""
    if not torch.cuda.is_available() or config.rollout.engine != "vllm":
        return 0
    share = config.rollout.gpu_memory_utilization
    share *= torch.cuda.get_device_properties(0).total_memory
    shape, most = _shape(student), config.rollout.max_sequences
    cache = engine_cache(shape, size, config.pair.context_tokens, most, share)
    return cache + ENGINE_ROOM if cache else share - _count(student) * size


def _optimizer(config: TrainConfig, student: Any, size: int) -> float:
    """AdamW's two moments and the gradient in fp32, and an fp32 master where weights are not."""
    count = trained_parameters(student, config.tune)
    if config.tune.method == "lora":
        return count * (4 + 4 + 8)
    return count * (size + 8 + (4 + 4 if size == 2 else 0))


def _handed_over(config: TrainConfig, student: Any, size: int) -> float:
    """LoRA's merged layers; full fine-tuning hands over the weights themselves."""
    if config.tune.method == "full":
        return 0
    layers = adapted_layers(student, config.tune.targets)
    return sum(layer.weight.numel() for _, layer in layers) * size


def _activations(config: TrainConfig, model: Any, size: int) -> float:
    """Bytes kept for the backward pass a token: per layer about six states of the model's width,
    two each of queries and of keys and values, four of the MLP's; with checkpointing one a layer
    and one layer whole."""
    layers, width, mlp, queries, pairs = sizes(_shape(model))
    layer = (6 * width + 2 * (queries + pairs) + 4 * mlp) * size
    if config.tune.gradient_checkpointing:
        return layers * width * size + layer
    return layers * layer


def _shape(model: Any) -> Any:
    return model.config.get_text_config()


def _count(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _dtype(config: TrainConfig) -> str:
    return loading.pick_dtype(config.pair.dtype, loading.pick_device(config.execution.device))


def _ram_gib() -> float:
    """The machine's memory, or the share of it that a container may use."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return whole if text == "max" else min(whole, int(text) / GIB)
