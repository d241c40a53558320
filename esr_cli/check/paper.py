"""Seconds of a step by phase on many GPUs, on paper: `floors` split over the GPUs of each role.

A lower bound for dense models in bfloat16 whose kernels reach the stated ceilings; what a framework
adds is not in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from esr_cli.assembly.objective import lengths_of
from esr_cli.check.floors import Ceilings, Work, floors
from esr_cli.config import TrainConfig, TuneConfig
from esr_cli.config.finding import Finding
from esr_cli.models import loading
from esr_cli.models.outlines import trained_parameters
from esr_cli.models.shapes import cache_bytes, weight_bytes

# Bytes of a number in bfloat16 and in fp32.
HALF, WHOLE = 2, 4
# The share of an engine's GPU that weights may take; the rest is for the cache.
WEIGHTS_SHARE = 0.8


@dataclass(frozen=True)
class Machine:
    """What GPUs reach: each one's ceilings, bytes/s to GPUs of its machine and to others, memory.

    The defaults are an H100 with 80 GB (`capacity`, bytes), of whose peaks (989 TFLOP/s, 3.35 TB/s)
    kernels reach 40 and 60 %, in machines of 8 (`node`), on a network of 400 Gbit/s a GPU.
    """

    gpu: Ceilings = field(default_factory=lambda: Ceilings(2e12, 400e12, "bfloat16"))
    node_bytes: float = 300e9
    wire_bytes: float = 45e9
    node: int = 8
    capacity: float = 80e9


@dataclass(frozen=True)
class Gpus:
    """The GPUs of each role; `shared`: the same ones, which the roles take in turns.

    `engine_width` is of one engine; None: as few as hold its weights.
    """

    trainers: int = 1
    teachers: int = 1
    engines: int = 1
    shared: bool = False
    engine_width: int | None = None

    @property
    def count(self) -> int:
        """All GPUs."""
        roles = self.trainers, self.teachers, self.engines
        return max(roles) if self.shared else sum(roles)


@dataclass(frozen=True)
class Step:
    """`responses` of `length` tokens to prompts of `prompt` tokens, `samples` to each prompt.

    The models are without weights.
    """

    student: Any
    teacher: Any
    responses: int
    prompt: int
    length: int
    tune: TuneConfig
    samples: int = 1

    def work(self, parts: int = 1) -> Work:
        """The work of the one of `parts` engines that has the most responses.

        An engine has all responses to its prompts.
        """
        count = math.ceil(self.responses / self.samples / parts)
        rows = count * self.samples
        prompts, again = (self.prompt,) * rows, (self.prompt,) * (rows - count)
        return Work(prompts, prompts, (self.length,) * rows, again, again)


def seconds(step: Step, gpus: Gpus, machine: Machine) -> dict[str, float]:
    """Seconds of each phase, their `sum`, and of a step that samples one step `ahead`."""

    def floor(phase: str, count: int, parts: int = 1) -> float:
        top = Ceilings(
            count * machine.gpu.bytes_per_s, count * machine.gpu.flops_per_s, machine.gpu.dtype
        )
        return floors(step.student, step.teacher, step.tune, step.work(parts), HALF, top)[phase]

    width = engine_width(step, gpus, machine)
    train = floor("train", gpus.trainers)
    if gpus.trainers > 1:
        link = machine.node_bytes if gpus.trainers <= machine.node else machine.wire_bytes
        train = max(train, gathered_bytes(step, gpus) / link)
    found = {
        "generate": floor("generate", width, gpus.engines // width),
        "score": floor("score", gpus.teachers),
        "train": train,
        "sync": floor("sync", 1) if gpus.shared else handed_bytes(step) / machine.wire_bytes,
    }
    total = sum(found.values())
    overlapped = max(found["generate"], found["score"] + train) + found["sync"]
    return found | {"sum": total, "ahead": total if gpus.shared else overlapped}


def engine_width(step: Step, gpus: Gpus, machine: Machine) -> int:
    """GPUs of one engine: as given, or the fewest, by powers of two, that hold its weights."""
    if gpus.engine_width:
        return gpus.engine_width
    needed = weight_bytes(_shape(step.student), HALF) / (WEIGHTS_SHARE * machine.capacity)
    return min(gpus.engines, 2 ** max(0, math.ceil(math.log2(needed))))


def gathered_bytes(step: Step, gpus: Gpus) -> float:
    """Bytes to one rank: of every micro-batch all weights twice in 16 bits, and fp32 gradients."""
    prompts = math.ceil(step.responses / step.samples)
    tokens = prompts * step.prompt + step.responses * step.length
    passes = math.ceil(tokens / gpus.trainers / step.tune.micro_batch_tokens)
    summed = trained_parameters(step.student, step.tune) * WHOLE
    return float(passes * (2 * weight_bytes(_shape(step.student), HALF) + summed))


def handed_bytes(step: Step) -> float:
    """Bytes of weights to an engine: all in 16 bits, or a LoRA adapter's factors in fp32."""
    if step.tune.method == "lora":
        return float(trained_parameters(step.student, step.tune) * WHOLE)
    return float(weight_bytes(_shape(step.student), HALF))


def state_bytes(step: Step) -> float:
    """Bytes of the teacher's states at all response tokens."""
    return float(step.responses * step.length * _shape(step.teacher).hidden_size * HALF)


def gpu_bytes(step: Step, gpus: Gpus, machine: Machine) -> dict[str, float]:
    """Bytes of weights, optimizer state and cache on a GPU of each role; no activations."""
    shape, width = _shape(step.student), engine_width(step, gpus, machine)
    # With gradient and two moments: fp32 shards, or factors beside a frozen base and merged layers.
    trained = trained_parameters(step.student, step.tune) * 4 * WHOLE
    frozen = 2 * weight_bytes(shape, HALF) if step.tune.method == "lora" else 0
    rows = math.ceil(step.responses / (gpus.engines // width))
    cache = rows * (step.prompt + step.length) * cache_bytes(shape, HALF)
    return {
        "trainer": (trained + frozen) / gpus.trainers,
        "teacher": weight_bytes(_shape(step.teacher), HALF) / gpus.teachers,
        "engine": (weight_bytes(shape, HALF) + cache) / width,
    }


def findings(config: TrainConfig, models: dict[str, Any], prompt: int) -> list[Finding]:
    """A line on the seconds of a step on GPUs; `prompt` is the length of prompts in tokens.

    None for several models as teachers.
    """
    execution, teacher = config.execution, config.teacher
    on_gpu = loading.pick_device(execution.device).startswith("cuda")
    if not on_gpu or config.pair.teachers:
        return []
    machine, n = Machine(), lengths_of(config).longest
    responses = config.prompts_per_step * config.rollouts_per_prompt
    both = models["student"], models["teacher"]
    step = Step(*both, responses, prompt, n, config.tune, config.rollouts_per_prompt)
    teachers = execution.teachers * teacher.tensor_parallel
    width = config.rollout.tensor_parallel
    engines = execution.rollouts * width
    one_each = execution.trainers == teachers == engines == 1
    gpus = Gpus(execution.trainers, teachers, engines, one_each, width)
    found, top = seconds(step, gpus, machine), machine.gpu
    phases = ", ".join(f"{name} {found[name]:.2g} s" for name in ("generate", "score", "train"))
    text = (
        f"at least {found['sum']:.2g} s a step at N={n} on GPUs that reach "
        f"{top.flops_per_s / 1e12:.0f} TFLOP/s and {top.bytes_per_s / 1e12:g} TB/s: {phases}"
    )
    return [Finding("ok", "on paper", text)]


def _shape(model: Any) -> Any:
    return model.config.get_text_config()
