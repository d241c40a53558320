"""Times the parts of a step on this machine, with models of the run's widths and few layers.

The run's own engine, teacher and student compute, on random weights. A model with all layers takes
what one layer takes and, for each further layer, what one more of a few took. Seconds are the best
of some tries: other load makes a run slower than its estimate.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from esr_cli.assembly import workers
from esr_cli.assembly.memory import GIB, available_gib, dtype_of, weight_count
from esr_cli.assembly.pairing import Pairing
from esr_cli.base import files, process
from esr_cli.check import slim
from esr_cli.config import ModelConfig, TrainConfig, gate
from esr_cli.models import loading
from esr_cli.models.shapes import sizes
from esr_cli.runs import environment
from esr_cli.runs.metrics import gpu_name
from esr_cli.types import Prompt, Rollout

# Layers of the two models that are timed; a model with no more layers is timed as it is.
ONE, FEW = 1, 4
# Operations of a trial of the trainer, by device; more of a step's prompts are left out.
MOST_FLOPS = {"cpu": 6e10, "cuda": 2e13}
# Tokens decoded for the time of one: the noise of a small vocabulary is drawn for 16 at once.
DECODED = 16
# Sequences decoded at once from which further ones are taken to cost alike, and their tokens.
MOST_ROWS, MOST_TOKENS = 64, 2**16
# Tokens by which the longer contexts exceed the others.
LONGER = 128
# Processes for each core above which a trial is repeated later.
BUSY = 1.5
# Seconds that tries of one operation may take, and the fewest and most tries.
TRIED_S, TRIES = 0.2, (2, 6)


@dataclass(frozen=True)
class Trial:
    """Seconds of a step's parts for models with all layers.

    `read` is of a prompt token that the engine reads. Decoding a token of each of R sequences of C
    tokens takes `decode + R decode_row + R C decode_context`. `score` and `train` are of a token of
    prompt or response, beside `train_fixed` of an update; `sync` is of a hand-over.
    """

    read: float
    decode: float
    decode_row: float
    decode_context: float
    score: float
    train: float
    train_fixed: float
    sync: float
    # Of an engine that reads weights while it computes: to read all, and to compute for each row.
    weights: float = 0.0
    weights_row: float = 0.0
    # The processes that competed for a core.
    busy: float = 0.0

    def token(self, rows: int, context: float) -> float:
        """Seconds of decoding one token of each of `rows` sequences of `context` tokens."""
        linear = self.decode + rows * (self.decode_row + context * self.decode_context)
        return linear + max(self.weights, rows * self.weights_row)


def reason_against(config: TrainConfig, models: Sequence[Any]) -> str:
    """Why a run is not timed, empty if it can be; `models` are without weights, student first."""
    execution = config.placed
    if execution.rollouts + execution.teachers + execution.trainers > 3:
        return "several engines, teachers or trainers"
    if config.teacher.engine != "local":
        return f"the teacher is on {config.teacher.engine}"
    weights = [weight_count(each) * slim.share(each, FEW) for each in models]
    size = 2 if dtype_of(config) == "bfloat16" else 4
    # Two of the student and the teacher, and of a student that trains gradient and moments.
    gib = (sum(weights) + weights[0] * (5 if config.tune.method == "full" else 2)) * size / GIB
    free = available_gib(config)
    return f"{gib:.1f} GiB for it, and {free:.1f} are free" if gib > free / 2 else ""


def busy() -> float:
    """The processes that compete for a core of this machine; above 1 a trial is too slow."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def measure(
    config: TrainConfig, pairing: Pairing, prompts: list[Prompt], n: int, rows: int
) -> Trial:
    """The trial of a run with responses of `n` tokens that decodes up to `rows` at once.

    It is kept in the cache of this machine, and one made while the machine was busy is repeated
    once it no longer is.
    """
    chosen = _chosen(config, prompts, n)
    longest = max(len(each.student_ids) for each in chosen) + n
    rows = min(rows, MOST_ROWS, MOST_TOKENS // longest)
    # Responses to each prompt where the most are decoded.
    many = max(config.rollouts_per_prompt, rows // len(chosen))
    file = files.cache_dir() / "trials" / f"{_name(config, chosen, n)}-{many}-at-once.json"
    load = busy()
    if file.is_file():
        kept = Trial(**files.read_json(file))
        if kept.busy <= BUSY or load > BUSY:
            return kept
    one, few = (_timed(config, pairing, chosen, n, many, count) for count in (ONE, FEW))
    layers = {role: _shape(getattr(config.pair, role)).num_hidden_layers for role in slim.ROLES}

    def whole(name: str) -> float:
        """Seconds for all layers, from those for one and for a few."""
        count = layers["teacher" if name == "score" else "student"]
        if count <= FEW:
            return few[name]
        return few[name] + (count - FEW) * max(0.0, few[name] - one[name]) / (FEW - ONE)

    trial = _fitted({name: whole(name) for name in few}, config, chosen, n, many)
    trial = replace(trial, busy=load)
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(file, asdict(trial))
    return trial


def _fitted(
    seconds: dict[str, float], config: TrainConfig, prompts: list[Prompt], n: int, many: int
) -> Trial:
    """The figures of a trial from the seconds of what was run, see `_timed`."""
    few, samples = _half(prompts), config.rollouts_per_prompt
    rows, half = len(prompts) * many, len(few) * samples
    context = sum(len(each.student_ids) for each in prompts) / len(prompts) + n / 2
    all_rows, half_rows = seconds["decode"], seconds["decode half"]
    row = max(0.0, all_rows - half_rows) / (rows - half) if rows > half else 0.0
    longer = max(0.0, seconds["decode half after more"] - half_rows) / (half * LONGER)
    # What a longer context costs is a part of what a row costs.
    longer = min(longer, row / context) if rows > half else longer
    tokens, fewer = (
        sum(len(p.trained_ids) for p in each) * samples + len(each) * samples * n
        for each in (prompts, few)
    )
    token = max(0.0, seconds["train"] - seconds["train half"]) / max(1, tokens - fewer)
    token = min(token, seconds["train"] / tokens) or seconds["train"] / tokens
    scored = sum(len(p.teacher_ids) + n for p in prompts) * samples
    return Trial(
        read=seconds["read"] / sum(len(each.student_ids) for each in prompts),
        decode=max(0.0, all_rows - rows * row),
        decode_row=max(0.0, row - context * longer),
        decode_context=longer,
        score=seconds["score"] / scored,
        train=token,
        train_fixed=seconds["train"] - token * tokens,
        sync=seconds["sync"],
    )


def _timed(
    config: TrainConfig, pairing: Pairing, prompts: list[Prompt], n: int, many: int, layers: int
) -> dict[str, float]:
    """Seconds of each part on models of at most so many layers, which compute in this process."""
    with tempfile.TemporaryDirectory(prefix="esr-trial-") as folder, ExitStack() as stack:
        # One response more shows when the prompts have been read.
        own = slim.settings(config, Path(folder), layers, len(prompts) * many + 1)
        parts = workers.assemble(own, Path(folder), pairing, stack, lambda _: None)
        found = {"sync": _best(lambda: parts.engine.load_weights(parts.student.weights()))}
        found |= _decoded(parts, prompts, n, many)
        for part, asked in {"": prompts, " half": _half(prompts)}.items():
            rollouts = _rollouts(asked, parts.sampling.samples, n)
            scores = parts.teacher.score(rollouts)
            if not part:
                found["score"] = _best(partial(parts.teacher.score, rollouts))
            found[f"train{part}"] = _best(partial(parts.student.update, rollouts, scores, 0))
    return found


def _decoded(parts: workers.Parts, prompts: list[Prompt], n: int, many: int) -> dict[str, float]:
    """Seconds of reading the prompts, and of decoding a token in the middle of the responses."""
    few, samples, middle = _half(prompts), parts.sampling.samples, n // 2
    read, _ = _least(partial(_sampled, parts, prompts, samples, 0))
    _, all_rows = _least(partial(_sampled, parts, prompts, many, middle))
    _, half = _least(partial(_sampled, parts, few, samples, middle))
    _, longer = _least(partial(_sampled, parts, few, samples, middle + LONGER))
    return {"read": read, "decode": all_rows, "decode half": half, "decode half after more": longer}


def _sampled(
    parts: workers.Parts, prompts: list[Prompt], samples: int, more: int
) -> tuple[float, float]:
    """Seconds of reading prompts that are longer by `more` tokens, and of decoding a token."""
    longer = [replace(p, student_ids=p.student_ids + p.student_ids[-1:] * more) for p in prompts]
    # One response more, which ends at once, shows when the prompts have been read.
    asked = [longer[0], *(each for each in longer for _ in range(samples))]
    limits = (1, *(1 + DECODED for _ in asked[1:]))
    batches = [(asked, replace(parts.sampling, stop_ids=(), samples=1, lengths=limits))]
    [engine] = parts.engine.workers
    began = time.perf_counter()
    engine.call("generate", batches, 1, [])
    read = time.perf_counter()
    engine.call("generate", batches, len(asked) - 1, [0])
    return read - began, (time.perf_counter() - read) / DECODED


def _rollouts(prompts: list[Prompt], samples: int, n: int) -> list[Rollout]:
    """Responses of `n` tokens, which are those of the prompts again."""
    found = []
    for prompt in prompts:
        tokens = tuple(islice(cycle(prompt.student_ids), n))
        found += [Rollout(prompt, at, tokens, (-1.0,) * n, "length") for at in range(samples)]
    return found


def _chosen(config: TrainConfig, prompts: list[Prompt], n: int) -> list[Prompt]:
    """As many prompts of a step as can be trained on with few layers in about a second."""
    dims, samples = sizes(_shape(config.pair.student)), config.rollouts_per_prompt
    layer = dims.width * (2 * dims.queries + dims.pairs + 3 * dims.mlp)
    head = _shape(config.pair.student).vocab_size * dims.width
    device = loading.pick_device(config.execution.device).partition(":")[0]
    found: list[Prompt] = []
    flops = 0.0
    for prompt in prompts[: config.prompts_per_step]:
        tokens = samples * (len(prompt.trained_ids) + n)
        flops += 6 * min(FEW, dims.layers) * layer * tokens + 8 * head * samples * n
        if len(found) > 1 and flops > MOST_FLOPS[device]:
            break
        found.append(prompt)
    return found


def _half(prompts: list[Prompt]) -> list[Prompt]:
    return prompts[: (len(prompts) + 1) // 2]


def _name(config: TrainConfig, prompts: list[Prompt], n: int) -> str:
    """A name for all that the seconds depend on."""
    plain = gate.as_plain(config)
    shapes = [
        loading.load_config(model.path, model.revision, model.trust_remote_code).to_dict()
        for model in (config.pair.student, config.pair.teacher)
    ]
    lengths = [(len(p.student_ids), len(p.trained_ids), len(p.teacher_ids)) for p in prompts]
    return files.hash_of({
        **{key: plain[key] for key in ("tune", "loss", "rollouts_per_prompt")},
        "rollout": [plain["rollout"][key] for key in ("temperature", "top_p", "top_k")],
        "devices": [
            loading.pick_device(device)
            for device in (config.execution.device, config.execution.teacher_device)
        ],
        "shapes": shapes, "lengths": lengths, "n": n, "dtype": dtype_of(config),
        "machine": [environment.machine(), gpu_name(), torch.get_num_threads()],
        "versions": environment.versions(),
    })  # fmt: skip


def _shape(model: ModelConfig) -> Any:
    return loading.load_shape(model.path, model.revision, model.trust_remote_code)


def _best(action: Callable[[], object]) -> float:
    """The least seconds of the tries of an action."""

    def timed() -> tuple[float, ...]:
        began = time.perf_counter()
        action()
        process.synchronize()
        return (time.perf_counter() - began,)

    return _least(timed)[0]


def _least(timed: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
    """The least of each of the figures that an action returns, over several tries."""
    tries, began = [timed()], time.perf_counter()
    while len(tries) < TRIES[0] or (
        len(tries) < TRIES[1] and time.perf_counter() - began < TRIED_S
    ):
        tries.append(timed())
    return tuple(map(min, zip(*tries, strict=True)))
