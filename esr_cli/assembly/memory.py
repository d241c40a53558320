"""Estimates memory by part from the models' shapes, for rollouts of N tokens and full ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from esr_cli.assembly.seats import beside_trainer
from esr_cli.assembly.workers import weights_of
from esr_cli.base import available
from esr_cli.config import TrainConfig
from esr_cli.config.finding import Finding
from esr_cli.distill.divergence import Options
from esr_cli.models import grouped, loading
from esr_cli.models.outlines import adapted_layers, checkpoint_bytes, trained_parameters
from esr_cli.models.shapes import ENGINE_ROOM, cache_bytes, engine_cache, sizes, whole_cache

GIB = 2**30
# How many fp32 copies of a tile's logits the divergence holds at once.
TILE_COPIES = 12


@dataclass(frozen=True)
class Need:
    """GiB of one part, for rollouts of N tokens and for full ones; `sure` means exact."""

    part: str
    at_n: float
    full: float
    sure: bool


def needs(
    config: TrainConfig, student: Any, teachers: Sequence[Any], prompt_tokens: int, longest: int
) -> list[Need]:
    """Memory by part: weights, optimizer state, the engine's cache, activations, the loss.

    `student` and `teachers` are models without weights; `longest` is N.
    """
    size = 2 if dtype_of(config) == "bfloat16" else 4
    full = config.pair.max_response_tokens

    def both(part: str, size_at: Callable[[int], float]) -> Need:
        return Need(part, size_at(longest) / GIB, size_at(full) / GIB, sure=False)

    def fixed(part: str, count: float) -> Need:
        return Need(part, count / GIB, count / GIB, sure=True)

    # Of several ranks one has a GPU to itself, and on a CPU all compute side by side.
    ranks, on_gpu = config.execution.trainers, _device(config).startswith("cuda")
    shard, passes = (1 / ranks, 1) if on_gpu else (1, ranks)
    # Of an engine on several GPUs, one is the trainer's at most.
    part = 1 / config.rollout.tensor_parallel if on_gpu else 1
    engines, beside = beside_trainer(config)
    student_count, width = weight_count(student), max(_shape(m).hidden_size for m in teachers)
    teacher_count = fmean(weight_count(model) for model in teachers)
    rows = config.prompts_per_step * config.rollouts_per_prompt

    def micro_batch(n: int) -> int:
        sequence = prompt_tokens + n
        return min(rows * sequence, max(config.tune.micro_batch_tokens, sequence))

    cache, reserved = cache_bytes(_shape(student), size), _reserved(config, student, size)
    columns = _shape(student).vocab_size
    tile = Options(tile_tokens=config.loss.tile_tokens).tile(columns) * columns * 4 * TILE_COPIES
    return [
        fixed("student's weights", shard * student_count * size),
        fixed("optimizer and gradients", shard * _optimizer(config, student, size)),
        fixed("teacher's weights", beside * _teacher(config, teacher_count * size)),
        fixed("engine's weights", engines * part * _copies(config) * student_count * size),
        both(
            "engine's cache",
            lambda n: bool(engines) * (reserved or cache * rows * (prompt_tokens + n)),
        ),
        both(
            "activations", lambda n: passes * _activations(config, student, size) * micro_batch(n)
        ),
        both(
            "masks of shared prompts",
            lambda n: passes * _masks(config, student, size, prompt_tokens, n),
        ),
        fixed("weights being handed over", shard * _merged_layers(config, student, size)),
        both(
            "teacher's kept prompts",
            lambda _: beside * _kept(config, teachers, size, prompt_tokens),
        ),
        both("teacher's hidden states", lambda n: rows * n * width * size),
        both("logits of one tile", lambda _: passes * tile),
    ]


def against_machine(config: TrainConfig, parts: list[Need]) -> list[Finding]:
    """Compares the sum with the memory of the machine, and with what others leave of it.

    An error only if the exact parts alone exceed the memory: what others hold they may release.
    """
    on_gpu = _device(config).startswith("cuda")
    have, free = _gpu_gib() if on_gpu else (available.total_gib(), available.free_gib())
    where = f"{have:.0f} GiB of {'GPU ' if on_gpu else ''}memory"
    sure = sum(need.at_n for need in parts if need.sure)
    at_n, full = sum(need.at_n for need in parts), sum(need.full for need in parts)
    if sure > have:
        largest = max(parts, key=lambda need: need.at_n)
        text = (
            f"pair.student.path={config.pair.student.path}: weights and optimizer take "
            f"{sure:.1f} GiB ({largest.part} {largest.at_n:.1f}) of {where}"
        )
        return [Finding("error", "memory", text, ", or ".join(_lighter(config)))]
    text = f"about {at_n:.1f} GiB at N, {full:.1f} GiB for full rollouts; {where}, {free:.1f} free"
    if at_n > have:
        return [Finding("warning", "memory", f"{text}: it may not fit", _remedy(config))]
    if at_n > free:
        text = f"{text}: others hold {have - free:.1f}, so it may not fit now"
        return [Finding("warning", "memory", text, f"wait for them, or {_remedy(config)}")]
    if full > free:
        text = f"{text}: full rollouts may not fit"
        return [Finding("warning", "memory", text, "keep N short")]
    return [Finding("ok", "memory", text)]


def of_vllm(config: TrainConfig, student: Any, parts: list[Need]) -> list[Finding]:
    """Compares the cache that vLLM asks for on a CPU with the memory that the models leave.

    It asks for the most that it may need, and does not start if less is free.
    """
    if config.rollout.engine != "vllm" or _device(config).startswith("cuda"):
        return []
    size, most = (2 if dtype_of(config) == "bfloat16" else 4), config.rollout.max_sequences
    context = config.pair.context_tokens
    cache = whole_cache(_shape(student), size, context, most, config.rollout.tensor_parallel) / GIB
    have, models = available.total_gib(), sum(need.at_n for need in parts if need.sure)
    free = max(0.0, available.free_gib() - models)
    if cache < free:
        return []
    text = (
        f"rollout.max_sequences={most}: vLLM asks for a cache of {cache:.1f} GiB (of "
        f"pair.context_tokens={context} each), and the models leave {free:.1f} of {have:.0f}"
    )
    fits = max(1, int(most * free / cache / 2))
    remedy = f"rollout.max_sequences={fits}, a smaller pair.context_tokens, or rollout=eager"
    return [Finding("error" if cache > have else "warning", "engine's cache", text, remedy)]


def available_gib(config: TrainConfig) -> float:
    """GiB that are free where the student computes."""
    return _gpu_gib()[1] if _device(config).startswith("cuda") else available.free_gib()


def _gpu_gib() -> tuple[float, float]:
    """Total and free memory of the GPU; of one that does not exist, which is an error elsewhere,
    endless.
    """
    if not torch.cuda.is_available():
        return math.inf, math.inf
    free, total = torch.cuda.mem_get_info()
    return total / GIB, free / GIB


def _lighter(config: TrainConfig) -> list[str]:
    """Settings that make weights and optimizer state smaller."""
    ways = [] if config.tune.method == "lora" else ["tune=lora"]
    ways += [] if dtype_of(config) == "bfloat16" else ["pair.dtype=bfloat16"]
    return [*ways, "smaller models"]


def _remedy(config: TrainConfig) -> str:
    tune = config.tune
    ways = [] if tune.gradient_checkpointing else ["tune.gradient_checkpointing=true"]
    ways += [f"tune.micro_batch_tokens={tune.micro_batch_tokens // 4}", *_lighter(config)]
    return f"try {', or '.join(ways)}"


def _reserved(config: TrainConfig, student: Any, size: int) -> float:
    """Bytes that vLLM reserves besides its weights when it starts on a GPU; zero on a CPU."""
    if not torch.cuda.is_available() or config.rollout.engine != "vllm":
        return 0
    share = config.rollout.gpu_memory_utilization
    share *= torch.cuda.get_device_properties(0).total_memory
    shape, most = _shape(student), config.rollout.max_sequences
    parts = config.rollout.tensor_parallel
    cache = engine_cache(shape, size, config.pair.context_tokens, most, share, parts)
    return cache + ENGINE_ROOM if cache else share - weight_count(student) * size / parts


def _copies(config: TrainConfig) -> int:
    """Copies of the student that an engine holds: two if it adds an adapter to the first."""
    return 1 + (config.rollout.engine == "eager" and weights_of(config) == "adapter")


def _teacher(config: TrainConfig, weights: float) -> float:
    """Bytes of the teacher on this machine: all that vLLM takes on a GPU, none behind a server."""
    if config.teacher.engine == "server":
        return 0
    if config.teacher.engine == "vllm" and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        return total * config.teacher.gpu_memory_utilization
    return weights


def _kept(config: TrainConfig, teachers: Sequence[Any], size: int, prompt_tokens: int) -> float:
    """Bytes of the prompts that a teacher keeps at most: all of the run's, or up to its bound."""
    if config.teacher.engine != "local":
        return 0
    each = max(cache_bytes(_shape(model), size) for model in teachers) * prompt_tokens
    bound = config.teacher.prompt_cache_gib * GIB
    return min(bound, each * config.prompts_per_step * config.steps)


def _optimizer(config: TrainConfig, student: Any, size: int) -> float:
    """Bytes of the gradient, AdamW's two moments, and the fp32 copies for 16-bit weights."""
    count = trained_parameters(student, config.tune)
    if config.tune.method == "lora":
        return count * (4 + 4 + 8)
    if config.tune.master == "none":
        return count * 3 * size
    return count * (size + 8 + (4 + 4 if size == 2 else 0))


def checkpoint_gib(config: TrainConfig, student: Any) -> float:
    """GiB of a checkpoint; `student` is a model without weights."""
    return checkpoint_bytes(student, config.tune, dtype_of(config)) / GIB


def _merged_layers(config: TrainConfig, student: Any, size: int) -> float:
    """Bytes of LoRA's merged layers; full fine-tuning hands over the weights without a copy."""
    if config.tune.method == "full":
        return 0
    layers = adapted_layers(student, config.tune.targets)
    return sum(layer.weight.numel() for _, layer in layers) * size


def _activations(config: TrainConfig, model: Any, size: int) -> float:
    """Bytes per token kept for the backward pass.

    A layer keeps about six states of the model's width, two each of queries and of keys and
    values, and four of the MLP's width. With checkpointing each layer keeps one state, and one
    layer at a time keeps all of its own.
    """
    layers, width, mlp, queries, pairs = sizes(_shape(model))
    layer = (6 * width + 2 * (queries + pairs) + 4 * mlp) * size
    if config.tune.gradient_checkpointing:
        return layers * width * size + layer
    return layers * layer


def _masks(config: TrainConfig, model: Any, size: int, prompt_tokens: int, n: int) -> float:
    """Bytes of the masks of a micro-batch, one for each kind of the model's attention layers.

    A mask has an element for each pair of a row's tokens, and two flags while it is made.
    """
    windows = grouped.windows_of(_shape(model))
    if not config.tune.prompt_gradient or windows is None:
        return 0
    lengths, budget = [n] * config.rollouts_per_prompt, config.tune.micro_batch_tokens
    linear = grouped.pairs_per_token(_shape(model))
    rows = grouped.parts(prompt_tokens, lengths, budget, len(lengths), linear)
    most = max(map(len, rows))
    if most == 1:
        return 0
    longest = grouped.length(prompt_tokens, [n] * most)
    count = min(config.prompts_per_step * len(rows), max(1, budget // longest))
    return count * longest**2 * (size + 2) * len(windows)


def _shape(model: Any) -> Any:
    return model.config.get_text_config()


def weight_count(model: Any) -> int:
    """The number of parameters; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def dtype_of(config: TrainConfig) -> str:
    """The dtype that the student computes in."""
    return loading.pick_dtype(config.pair.dtype, _device(config))


def _device(config: TrainConfig) -> str:
    return loading.pick_device(config.execution.device)
