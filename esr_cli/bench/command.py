"""`esr bench`: the real loop timed by phase, beside what the machine could do, and beside a peer.

Every arm (our loop on each engine, a peer) lives in a process of its own, and they take turns: two
steps of each at each length, again and again, so that what else the machine does meets all alike.
Of the two the second counts, as in a loop, where a step follows a step.
"""

from __future__ import annotations

import datetime
import importlib.util
import re
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

# Small enough to leave the weights as they are, so that every step has the same work.
LEARNING_RATE = 1e-12
PEER = "trl"
# Steps of an arm before it is another's turn, whose processes then find caches cold.
IN_A_ROW = 2
# Relative: equal up to the order of sums in fp32, and up to what 16 bits round.
AGREE = {"float32": 1e-4, "bfloat16": 1e-2}
NOT_IN_NAME = re.compile(r"(out|data_dir|repeats|warmup|tracking)[.=]|pair=")


def run(config: BenchConfig, overrides: list[str]) -> None:
    """Times as configured; raises `ConfigError` before any model loads, and `WorkerError` where a
    peer failed, when all else has been measured and written."""
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
        arms = _arms(config, _found(ready), folder, stack)
        loss = _compare_losses(config, arms)
        steps, weighed = _measure(config, arms)
        facts = {name: worker.call("facts") for name, worker in arms.items() if name != PEER}
    told = _record(config, steps, facts, loss) | {"memory": record.memory(weighed)}
    files.write_json(folder / "bench.json", told)
    show(told)
    print(f"{folder / 'bench.json'}\n{plot.draw(told, folder)}")
    if config.peer and PEER not in arms:
        raise WorkerError(f"{PEER} failed and is left out: {folder}/logs/{PEER}.log")


def _folder(config: BenchConfig, overrides: list[str]) -> Path:
    name = run_folder.name_of(overrides, NOT_IN_NAME)
    return Path(config.out or Path("runs") / config.pair.name / f"bench-{name}")


def _trained(config: BenchConfig) -> TrainConfig:
    """What the loop runs with: one temperature with a peer, and weights that stay."""
    plain = {each.name: getattr(config, each.name) for each in fields(TrainConfig)}
    base = TrainConfig(**plain)
    longest = max(config.tokens(each) for each in config.rollout_lens)
    base = replace(
        base, rollout=replace(base.rollout, max_tokens=longest),
        tune=replace(base.tune, learning_rate=LEARNING_RATE, weight_decay=0.0),
    )  # fmt: skip
    if config.peer:
        # TRL has one temperature for both.
        base = replace(base, loss=replace(base.loss, temperature=base.rollout.temperature))
    return base


def _found(config: TrainConfig) -> TrainConfig:
    """With the folders of packaged models in place of their names, for who knows no such names."""
    student, teacher = (
        replace(model, path=loading.resolve(model.path))
        for model in (config.pair.student, config.pair.teacher)
    )
    return replace(config, pair=replace(config.pair, student=student, teacher=teacher))


def _check_peer(config: TrainConfig, alignment: Alignment) -> None:
    if importlib.util.find_spec("trl") is None:
        raise ConfigError("peer=trl: TRL is not installed; pip install 'esr-cli[trl]'")
    if alignment.kind != "ids":
        raise ConfigError("peer=trl: TRL takes pairs with the same token ids; leave the peer out")
    for key, value, same in (
        ("loss.divergence", config.loss.divergence, "reverse_kl"),
        ("loss.select", config.loss.select, "all"),
        ("loss.weights", config.loss.weights, "uniform"),
        ("loss.reduction", config.loss.reduction, "token_mean"),
        ("rollouts_per_prompt", config.rollouts_per_prompt, 1),
    ):
        if value != same:
            raise ConfigError(f"{key}={value}: TRL has {key}={same} alone; take that, or no peer")


def _arms(
    config: BenchConfig, base: TrainConfig, folder: Path, stack: ExitStack
) -> dict[str, ProcessWorker]:
    arms: dict[str, ProcessWorker] = {}
    for engine in config.engines:
        own = {"config": on_engine(base, engine), "folder": str(folder / "logs" / engine)}
        arms[engine] = _placed(engine, Ours, own, folder, stack)
    if config.peer:
        steps = IN_A_ROW * (config.warmup + config.repeats) * len(config.rollout_lens)
        own = {"config": base, "folder": str(folder / "logs" / PEER), "steps": steps}
        # On a CPU vLLM packs its weights, and what TRL hands over finds no place.
        on_cpu = loading.pick_device(base.execution.device) == "cpu"
        own["vllm"] = "vllm" in config.engines and not on_cpu
        arms[PEER] = _placed(PEER, Trl, own, folder, stack)
    # Ours side by side; a peer's engine measures how much memory is left, and needs it at rest.
    for engine in config.engines:
        arms[engine].start()
    for name in list(arms):
        print(f"starting {name}", flush=True)
        _ask(arms, name, "peak_gib")
    # With all arms at rest: another that starts would lower the ceilings.
    for engine in config.engines:
        arms[engine].call("measure_ceilings")
    return arms


def _ask(arms: dict[str, ProcessWorker], name: str, method: str, *given: Any) -> Any:
    """What an arm answers; none where a peer fails or has failed, and is left out: what ours
    measured, and what they took to start, is not lost by it."""
    if name not in arms:
        return None
    try:
        return arms[name].call(method, *given)
    except WorkerError as error:
        if name != PEER:
            raise
        failed = arms.pop(name)
        failed.close()
        with Path(str(failed.log)).open("a") as log:
            log.write(f"{error}\n")
        print(f"going on without {name}: {str(error).splitlines()[-1]}", flush=True)
        return None


def _placed(
    name: str, kind: type, settings: dict[str, Any], folder: Path, stack: ExitStack
) -> ProcessWorker:
    log = folder / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    worker = ProcessWorker(name, kind, settings, log=str(log))

    def close() -> None:
        if worker.ready:
            with suppress(WorkerError):  # it may be what failed
                worker.call("close")
        worker.close()

    stack.callback(close)
    return worker


def _compare_losses(config: BenchConfig, arms: dict[str, ProcessWorker]) -> dict[str, float] | None:
    """Both losses of one batch of completions, before any step of the peer's."""
    if PEER not in arms:
        return None
    own = arms[config.engines[0]]
    rollouts = own.call("step", 0, config.tokens(config.rollout_lens[0]))["rollouts"]
    ours, theirs = own.call("loss", rollouts), _ask(arms, PEER, "loss", rollouts)
    if theirs is None:
        return None
    tolerance = AGREE[own.call("facts")["dtype"]]
    apart = abs(ours - theirs) / abs(theirs)
    rest = f"{apart:.1e} apart; esr compares what both vocabularies share, trl all rows"
    verdict = f"the same ({apart:.0e} apart)" if apart < tolerance else rest
    print(f"loss on the same completions: esr {ours:.6f}, trl {theirs:.6f}: {verdict}")
    return {"esr": ours, "trl": theirs, "relative": apart, "tolerance": tolerance}


def _measure(config: BenchConfig, arms: dict[str, ProcessWorker]) -> tuple[Steps, Steps]:
    """The timed steps, and those of the last round of warm-up, of which the memory is."""
    lengths = {str(each): config.tokens(each) for each in config.rollout_lens}
    found: Steps = {(arm, length): [] for arm in arms for length in lengths}
    weighed: Steps = {key: [] for key in found}
    number = 0
    for turn in range(config.warmup + config.repeats):
        weigh = turn == max(0, config.warmup - 1)
        for length, tokens in lengths.items():
            for arm in list(arms):
                step = _last_of(arms, arm, number, tokens, weigh)
                if step and turn >= config.warmup:
                    found[arm, length].append(step)
                if step and weigh:
                    weighed[arm, length].append(step)
            number += IN_A_ROW
        print(f"round {turn + 1} of {config.warmup + config.repeats}", flush=True)
    kept = [key for key in found if key[0] in arms]
    return {key: found[key] for key in kept}, {key: weighed[key] for key in kept}


def _last_of(
    arms: dict[str, ProcessWorker], arm: str, number: int, tokens: int, weigh: bool
) -> dict[str, Any] | None:
    """The last of an arm's steps in a row; none where it is a peer that failed."""
    for place in range(IN_A_ROW):
        step = _ask(arms, arm, "step", number + place, tokens, weigh)
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
        "line": {arm: record.line(steps, arm) for arm in dict.fromkeys(arm for arm, _ in steps)},
        "loss": loss, "ratio_to_trl": record.ratios(steps, PEER),
    }  # fmt: skip
