"""`esr bench`: times the real loop by phase, against the limits of the machine and against a peer.

Each configuration, or arm (our loop on each engine, a peer), has its own process. They alternate:
in each round each takes two steps at each length, so that other load on the machine affects all
alike. Only the second of the two counts, since in a real loop a step follows a step. Arms that do
not fit into memory together are loaded and timed one after the other.
"""

from __future__ import annotations

import datetime
import importlib.util
import re
import shlex
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from esr_cli.assembly import memory, preflight
from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.assembly.random_pair import with_random_weights
from esr_cli.base import files
from esr_cli.bench import record, room
from esr_cli.bench.arms import PEER, STEPS_PER_TURN, Arms
from esr_cli.bench.ours import on_engine
from esr_cli.bench.prompts import bench_task
from esr_cli.bench.record import Steps
from esr_cli.bench.table import show
from esr_cli.check import tuning
from esr_cli.config import BenchConfig, ConfigError, TrainConfig
from esr_cli.config.finding import refuse
from esr_cli.execution.worker import WorkerError
from esr_cli.models import loading
from esr_cli.models.outlines import skeleton
from esr_cli.models.vocabulary import Alignment
from esr_cli.plots import bench as plot
from esr_cli.runs import environment
from esr_cli.runs import folder as run_folder
from esr_cli.types import Rollout

# Small enough to leave the weights unchanged, so that every step does the same work.
LEARNING_RATE = 1e-12
# Relative tolerance of a loss: the order of summation in fp32, the rounding in bf16.
LOSS_TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2}
# Two equal models have a loss of rounding errors, which are no share of anything.
LEAST_LOSS = 1e-2
# Nor what a bench does not use.
NOT_IN_NAME = re.compile(
    r"(run_dir|data_dir|repeats|warmup|in_turns|tracking|steps|rollout_len|eval_every|save_every"
    r"|keep_checkpoints|strict|dry_run|alarms|watch|limit|sandbox)[.=]|pair="
)


@dataclass
class _Found:
    """What the arms have yielded so far."""

    timed: Steps = field(default_factory=dict)
    memory: Steps = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    rollouts: list[Rollout] = field(default_factory=list)
    our_loss: float = 0.0
    tolerance: float = 0.0
    loss: dict[str, float] | None = None


def run(config: BenchConfig, overrides: list[str]) -> None:
    """Runs the bench.

    Raises `ConfigError` before any model loads, and `WorkerError` if a peer failed, after all other
    results are written.
    """
    folder = _folder(config, overrides)
    base = _trained(config)
    outlined = with_random_weights(base, drawn=False)
    for engine in config.engines:
        tokenizers = preflight.check_models(on_engine(outlined, engine), drawn=False)
    if config.peer:
        _check_peer(base, resolve_pairing(outlined.pair, *tokenizers).alignment)
    if base.tune.compile:
        roles = ("student", "teacher")
        models = {role: skeleton(getattr(outlined.pair, role)) for role in roles}
        refuse(tuning.compiling(models, base.tune))
    run_folder.need_writable("run_dir", folder)
    task = bench_task(outlined, tokenizers, config.prompt_tokens)
    estimates = room.estimates(config, outlined, task.train(0, config.prompts_per_step))
    groups = room.groups(config, estimates, memory.available_gib(config))
    ready = _found(with_random_weights(base))
    found = _Found()
    for names in groups:
        with ExitStack() as stack:
            arms = Arms(names, config, ready, folder, stack)
            _compare_losses(config, arms, found)
            _measure(config, arms, found)
            for name in arms.ours:
                found.facts[name] = arms.call(name, "facts")
    results = (
        {"command": shlex.join(["esr", "bench", *overrides])}
        | _record(config, found)
        | {"in_turns": len(groups) > 1, "memory": record.memory(found.memory)}
    )
    files.write_json(folder / "bench.json", results)
    show(results)
    print(f"{folder / 'bench.json'}\n{plot.draw(results, folder)}")
    if config.peer and not any(name == PEER for name, _ in found.timed):
        raise WorkerError(f"{PEER} failed and is left out: {folder}/logs/{PEER}.log")


def _folder(config: BenchConfig, overrides: list[str]) -> Path:
    name = run_folder.name_of(overrides, NOT_IN_NAME)
    return Path(config.run_dir or Path("runs") / config.pair.name / f"bench-{name}")


def _trained(config: BenchConfig) -> TrainConfig:
    """The training settings: constant weights, and with a peer the same temperature for both."""
    plain = {each.name: getattr(config, each.name) for each in fields(TrainConfig)}
    base = TrainConfig(**plain)
    longest = max(config.tokens(each) for each in config.rollout_lens)
    base = replace(
        base, rollout=replace(base.rollout, max_tokens=longest),
        tune=replace(base.tune, learning_rate=LEARNING_RATE, weight_decay=0.0),
    )  # fmt: skip
    if config.peer:
        # TRL has one temperature for sampling and loss.
        base = replace(base, loss=replace(base.loss, temperature=base.rollout.temperature))
    return base


def _found(config: TrainConfig) -> TrainConfig:
    """Replaces names of packaged models by their folders, since a peer does not know the names."""
    pair = config.pair
    student = replace(pair.student, path=loading.resolve(pair.student.path))
    teacher = replace(pair.teacher, path=loading.resolve(pair.teacher.path))
    return replace(config, pair=replace(pair, student=student, teacher=teacher))


def _check_peer(config: TrainConfig, alignment: Alignment) -> None:
    if importlib.util.find_spec("trl") is None:
        raise ConfigError("peer=trl: TRL is not installed; pip install 'esr-cli[trl]'")
    if alignment.kind != "ids":
        raise ConfigError("peer=trl: TRL needs a pair with the same token ids; drop peer")
    for key, value, supported in (
        ("loss.divergence", config.loss.divergence, "reverse_kl"),
        ("loss.select", config.loss.select, "all"),
        ("loss.weights", config.loss.weights, "uniform"),
        ("loss.reduction", config.loss.reduction, "token_mean"),
        ("tune.dropout", config.tune.dropout, 0.0),
    ):
        if value != supported:
            raise ConfigError(
                f"{key}={value}: TRL supports only {key}={supported}; use that or drop peer"
            )


def _compare_losses(config: BenchConfig, arms: Arms, found: _Found) -> None:
    """Both losses on the same batch of completions, before the peer takes any step.

    If the arms take turns, the completions and our loss are those of the first.
    """
    if config.peer and config.engines[0] in arms.workers:
        worker = arms.workers[config.engines[0]]
        found.rollouts = worker.call("step", 0, config.tokens(config.rollout_lens[0]))["rollouts"]
        found.our_loss = worker.call("loss", found.rollouts)
        found.tolerance = LOSS_TOLERANCE[worker.call("facts")["dtype"]]
    peer_loss = arms.call(PEER, "loss", found.rollouts)
    if peer_loss is None:
        return
    difference = relative_difference(found.our_loss, peer_loss)
    note = "esr compares only tokens that both vocabularies share, trl all rows"
    verdict = f"{difference:.1e} apart; {note}"
    if difference < found.tolerance:
        verdict = f"the same ({difference:.0e} apart)"
    print(f"loss on the same completions: esr {found.our_loss:.6f}, trl {peer_loss:.6f}: {verdict}")
    found.loss = {
        "esr": found.our_loss, "trl": peer_loss, "relative": difference,
        "tolerance": found.tolerance,
    }  # fmt: skip


def relative_difference(our_loss: float, peer_loss: float) -> float:
    """The difference of two losses (nats) relative to the peer's, or to `LEAST_LOSS` if larger."""
    return abs(our_loss - peer_loss) / max(abs(peer_loss), LEAST_LOSS)


def _measure(config: BenchConfig, arms: Arms, found: _Found) -> None:
    """Adds the timed steps, and those of the last warm-up round, which measure memory."""
    lengths = {str(each): config.tokens(each) for each in config.rollout_lens}
    rounds = config.warmup + config.repeats
    timed: Steps = {(name, length): [] for name in arms.workers for length in lengths}
    memory_steps: Steps = {key: [] for key in timed}
    number = 0
    for turn in range(rounds):
        measure_memory = turn == max(0, config.warmup - 1)
        for length, tokens in lengths.items():
            for name in list(arms.workers):
                step = _take_turn(arms, name, number, tokens, measure_memory)
                if step and turn >= config.warmup:
                    timed[name, length].append(step)
                if step and measure_memory:
                    memory_steps[name, length].append(step)
            number += STEPS_PER_TURN
        print(f"round {turn + 1} of {rounds}", flush=True)
    kept = [key for key in timed if key[0] in arms.workers]
    found.timed |= {key: timed[key] for key in kept}
    found.memory |= {key: memory_steps[key] for key in kept}


def _take_turn(
    arms: Arms, name: str, number: int, tokens: int, measure_memory: bool
) -> dict[str, Any] | None:
    """Takes the steps of one turn; returns the last, or None if a peer failed."""
    for place in range(STEPS_PER_TURN):
        step = arms.call(name, "step", number + place, tokens, measure_memory)
    if step:
        step.pop("rollouts", None)
    return step


def _record(config: BenchConfig, found: _Found) -> dict[str, Any]:
    steps = found.timed
    return {
        "date": datetime.date.today().isoformat(), "versions": environment.versions(),
        "machine": environment.machine(), "ceilings": found.facts,
        "pair": config.pair.name, "weights": config.pair.weights, "tune": config.tune.method,
        "responses": config.prompts_per_step * config.rollouts_per_prompt,
        "rollouts_per_prompt": config.rollouts_per_prompt, "prompt_tokens": config.prompt_tokens,
        "repeats": config.repeats, "rows": record.rows(steps), "work": record.work(steps),
        "line": {name: record.line(steps, name) for name in dict.fromkeys(n for n, _ in steps)},
        "loss": found.loss, "ratio_to_trl": record.ratios(steps, PEER),
        "score_train_ratio_to_trl": record.ratios(steps, PEER, record.SCORE_TRAIN),
    }  # fmt: skip
