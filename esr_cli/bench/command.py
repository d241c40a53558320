"""`esr bench`: times the real loop by phase, against the limits of the machine and against a peer.

Each configuration (our loop on each engine, a peer) has its own process. They take turns: in each
round each takes two steps at each length, so that other load on the machine affects all alike. Only
the second of the two counts, since in a real loop a step follows a step.
"""

from __future__ import annotations

import datetime
import importlib.util
import re
import shlex
from contextlib import ExitStack, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from esr_cli.assembly import preflight
from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.assembly.random_pair import with_random_weights
from esr_cli.base import files
from esr_cli.bench import record
from esr_cli.bench.ours import Ours, on_engine
from esr_cli.bench.record import Steps
from esr_cli.bench.table import show
from esr_cli.bench.trl import Trl
from esr_cli.check import tuning
from esr_cli.config import BenchConfig, ConfigError, TrainConfig
from esr_cli.config.finding import refuse
from esr_cli.execution.worker import ProcessWorker, WorkerError
from esr_cli.models import loading
from esr_cli.models.outlines import skeleton
from esr_cli.models.vocabulary import Alignment
from esr_cli.plots import bench as plot
from esr_cli.runs import environment
from esr_cli.runs import folder as run_folder

# Small enough to leave the weights unchanged, so that every step does the same work.
LEARNING_RATE = 1e-12
PEER = "trl"
# Steps of a configuration per turn. The first step of a turn starts with cold caches.
STEPS_PER_TURN = 2
# Relative tolerance of a loss: the order of summation in fp32, the rounding in bf16.
LOSS_TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2}
NOT_IN_NAME = re.compile(r"(out|data_dir|repeats|warmup|tracking)[.=]|pair=")


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
    run_folder.need_writable("out", folder)
    ready = with_random_weights(base)
    with ExitStack() as stack:
        workers = _start_workers(config, _found(ready), folder, stack)
        loss = _compare_losses(config, workers)
        steps, memory_steps = _measure(config, workers)
        facts = {name: worker.call("facts") for name, worker in workers.items() if name != PEER}
    results = (
        {"command": shlex.join(["esr", "bench", *overrides])}
        | _record(config, steps, facts, loss)
        | {"memory": record.memory(memory_steps)}
    )
    files.write_json(folder / "bench.json", results)
    show(results)
    print(f"{folder / 'bench.json'}\n{plot.draw(results, folder)}")
    if config.peer and PEER not in workers:
        raise WorkerError(f"{PEER} failed and is left out: {folder}/logs/{PEER}.log")


def _folder(config: BenchConfig, overrides: list[str]) -> Path:
    name = run_folder.name_of(overrides, NOT_IN_NAME)
    return Path(config.out or Path("runs") / config.pair.name / f"bench-{name}")


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
        ("rollouts_per_prompt", config.rollouts_per_prompt, 1),
    ):
        if value != supported:
            raise ConfigError(
                f"{key}={value}: TRL supports only {key}={supported}; use that or drop peer"
            )


def _start_workers(
    config: BenchConfig, base: TrainConfig, folder: Path, stack: ExitStack
) -> dict[str, ProcessWorker]:
    workers: dict[str, ProcessWorker] = {}
    for engine in config.engines:
        settings = {"config": on_engine(base, engine), "folder": str(folder / "logs" / engine)}
        workers[engine] = _place_worker(engine, Ours, settings, folder, stack)
    if config.peer:
        steps = STEPS_PER_TURN * (config.warmup + config.repeats) * len(config.rollout_lens)
        settings = {"config": base, "folder": str(folder / "logs" / PEER), "steps": steps}
        # On a CPU vLLM packs its weights, so TRL cannot load weights into it.
        on_cpu = loading.pick_device(base.execution.device) == "cpu"
        settings["vllm"] = "vllm" in config.engines and not on_cpu
        workers[PEER] = _place_worker(PEER, Trl, settings, folder, stack)
    # Ours start in parallel; a peer's engine measures free memory, so it starts once ours are idle.
    for engine in config.engines:
        workers[engine].start()
    for name in list(workers):
        print(f"starting {name}", flush=True)
        _call(workers, name, "peak_gib")
    # All workers are idle now; one that is starting would lower the ceilings.
    for engine in config.engines:
        workers[engine].call("measure_ceilings")
    return workers


def _call(workers: dict[str, ProcessWorker], name: str, method: str, *args: Any) -> Any:
    """Calls a worker. A peer that fails is removed, and None is returned for it from then on, so
    that our own measurements are not lost.
    """
    if name not in workers:
        return None
    try:
        return workers[name].call(method, *args)
    except WorkerError as error:
        if name != PEER:
            raise
        failed = workers.pop(name)
        failed.close()
        with Path(str(failed.log)).open("a") as log:
            log.write(f"{error}\n{error.__cause__ or ''}\n")
        print(f"continuing without {name}: {str(error).splitlines()[-1]}", flush=True)
        return None


def _place_worker(
    name: str, kind: type, settings: dict[str, Any], folder: Path, stack: ExitStack
) -> ProcessWorker:
    log = folder / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    worker = ProcessWorker(name, kind, settings, log=str(log))

    def close() -> None:
        if worker.ready:
            with suppress(WorkerError):  # the worker itself may have failed
                worker.call("close")
        worker.close()

    stack.callback(close)
    return worker


def _compare_losses(
    config: BenchConfig, workers: dict[str, ProcessWorker]
) -> dict[str, float] | None:
    """Both losses on the same batch of completions, before the peer takes any step."""
    if PEER not in workers:
        return None
    worker = workers[config.engines[0]]
    rollouts = worker.call("step", 0, config.tokens(config.rollout_lens[0]))["rollouts"]
    our_loss, peer_loss = worker.call("loss", rollouts), _call(workers, PEER, "loss", rollouts)
    if peer_loss is None:
        return None
    tolerance = LOSS_TOLERANCE[worker.call("facts")["dtype"]]
    difference = abs(our_loss - peer_loss) / abs(peer_loss)
    note = "esr compares only tokens that both vocabularies share, trl all rows"
    verdict = f"{difference:.1e} apart; {note}"
    if difference < tolerance:
        verdict = f"the same ({difference:.0e} apart)"
    print(f"loss on the same completions: esr {our_loss:.6f}, trl {peer_loss:.6f}: {verdict}")
    return {"esr": our_loss, "trl": peer_loss, "relative": difference, "tolerance": tolerance}


def _measure(config: BenchConfig, workers: dict[str, ProcessWorker]) -> tuple[Steps, Steps]:
    """The timed steps, and those of the last warm-up round, which measure memory."""
    lengths = {str(each): config.tokens(each) for each in config.rollout_lens}
    timed: Steps = {(name, length): [] for name in workers for length in lengths}
    memory_steps: Steps = {key: [] for key in timed}
    number = 0
    for turn in range(config.warmup + config.repeats):
        measure_memory = turn == max(0, config.warmup - 1)
        for length, tokens in lengths.items():
            for name in list(workers):
                step = _take_turn(workers, name, number, tokens, measure_memory)
                if step and turn >= config.warmup:
                    timed[name, length].append(step)
                if step and measure_memory:
                    memory_steps[name, length].append(step)
            number += STEPS_PER_TURN
        print(f"round {turn + 1} of {config.warmup + config.repeats}", flush=True)
    kept = [key for key in timed if key[0] in workers]
    return {key: timed[key] for key in kept}, {key: memory_steps[key] for key in kept}


def _take_turn(
    workers: dict[str, ProcessWorker], name: str, number: int, tokens: int, measure_memory: bool
) -> dict[str, Any] | None:
    """Takes the steps of one turn; returns the last, or None if a peer failed."""
    for place in range(STEPS_PER_TURN):
        step = _call(workers, name, "step", number + place, tokens, measure_memory)
    if step:
        step.pop("rollouts", None)
    return step


def _record(
    config: BenchConfig, steps: Steps, facts: dict[str, Any], loss: dict[str, float] | None
) -> dict[str, Any]:
    return {
        "date": datetime.date.today().isoformat(), "versions": environment.versions(),
        "machine": environment.machine(), "ceilings": facts,
        "pair": config.pair.name, "weights": config.pair.weights, "tune": config.tune.method,
        "responses": config.prompts_per_step * config.rollouts_per_prompt,
        "repeats": config.repeats, "rows": record.rows(steps), "work": record.work(steps),
        "line": {name: record.line(steps, name) for name in dict.fromkeys(n for n, _ in steps)},
        "loss": loss, "ratio_to_trl": record.ratios(steps, PEER),
    }  # fmt: skip
