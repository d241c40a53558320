"""The part of `esr eval` that generates with a model: which weights, on which engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from esr_cli.assembly import preflight, templates, workers
from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.assembly.random_pair import with_random_weights
from esr_cli.base import files
from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.exam import Exam, Responses
from esr_cli.config import ConfigError, EvalConfig, ModelConfig, TrainConfig, gate
from esr_cli.config.errors import need_folder
from esr_cli.config.finding import refuse
from esr_cli.eval.folder import Done
from esr_cli.execution.several import Engines, WatchedEngines
from esr_cli.models import loading
from esr_cli.runs import record, saved
from esr_cli.runs.progress import shown
from esr_cli.student import snapshot, tuning


@dataclass(frozen=True)
class Weights:
    """Weights to evaluate; `load` returns those that differ from the model folder, if any."""

    step: int
    load: Callable[[], dict[str, Any]] | None = None


@dataclass(frozen=True)
class Plan:
    """A checked evaluation, made before any model loads; calling it yields the responses."""

    config: EvalConfig
    model: ModelConfig
    weights: list[Weights]
    exams: list[Exam]
    context_tokens: int
    dtype: str

    def __call__(
        self, folder: Path, stack: ExitStack, done: Done
    ) -> Iterator[tuple[int, Benchmark, Responses]]:
        """Yields (step, benchmark, responses) unless in `done`; `stack` closes the engine."""
        pending = [
            (state, each)
            for state in self.weights
            for each in self.exams
            if (each.benchmark.name, state.step) not in done
        ]
        if not pending:
            return
        engine, loaded = self._engine(folder, stack), None
        for state, each in pending:
            if state.load and loaded is not state:
                engine.load_weights(state.load())
                loaded = state
            with shown(f"{each.benchmark.name} at step {state.step}") as report:
                responses = each.ask(WatchedEngines(engine, report), state.step)
            for line in engine.take_notes():
                print(line, flush=True)
            yield state.step, each.benchmark, responses

    def _engine(self, folder: Path, stack: ExitStack) -> Engines:
        device = loading.pick_device(self.config.execution.device)
        engines = workers.place_engines(
            self.config.rollout, self.config.execution, self.model,
            loading.pick_dtype(self.dtype, device), self.context_tokens, folder,
            partial(print, flush=True),
        )  # fmt: skip
        stack.callback(engines.close)
        print(f"starting the engine ({self.config.rollout.engine})", flush=True)
        engines.start()
        return engines


def plan(config: EvalConfig, chosen: list[Benchmark]) -> Plan:
    """Checks model, tokenizer, end tokens and that every prompt fits; raises `ConfigError`."""
    subject = _of_run(config) if config.run else _of_model(config)
    model, key = subject.model, "run" if config.run else "model"
    tokenizer = preflight.check_model(key, model, config.rollout)
    exams = [
        preflight.exam(each, model, tokenizer, config.seed, subject.stops, subject.own_stop)
        for each in chosen
    ]
    _check_ends(key, model, exams, subject.own_stop)
    limit = (
        config.context_tokens
        or loading.load_shape(
            model.path, model.revision, model.trust_remote_code
        ).max_position_embeddings
    )
    needed = preflight.check_room(exams, limit, "context_tokens")
    dtype = subject.dtype if config.dtype == "auto" else config.dtype
    return Plan(config, model, subject.weights, exams, needed, dtype)


def _check_ends(key: str, model: ModelConfig, exams: list[Exam], own_stop: bool) -> None:
    """Refuses a template that closes an answer with none of a benchmark's stop tokens.

    Raw prompts have no template.
    """
    findings = [
        templates.ends(
            "model", key, model, each.tokenizer, each.sampling.stop_ids,
            f"benchmark.{each.benchmark.name}.stop_tokens", own_stop,
        )
        for each in exams if each.benchmark.config.prompt == "chat"
    ]  # fmt: skip
    refuse(findings)
    for line in dict.fromkeys(each.said for each in findings if each.status == "warning"):
        print(f"warning: {key}={model.path}: {line}")


@dataclass(frozen=True)
class Subject:
    """A model and its weights; responses also end at the ids `stops`.

    With `own_stop` they end only at the tokenizer's own end of text. `dtype` is that of its run.
    """

    model: ModelConfig
    weights: list[Weights]
    stops: tuple[int, ...] = ()
    own_stop: bool = False
    dtype: str = "auto"


def _of_model(config: EvalConfig) -> Subject:
    model = ModelConfig(
        str(config.model), config.revision, system=config.system, thinking=config.thinking,
        trust_remote_code=config.trust_remote_code,
        split_special_tokens=config.split_special_tokens,
    )  # fmt: skip
    return Subject(model, [Weights(step=0)])


def _of_run(config: EvalConfig) -> Subject:
    folder = Path(str(config.run))
    need_folder("run", folder, "name one that esr train made")
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"run={folder}: holds no run; name a folder that esr train made")
    kept = files.checkpoints(folder)
    trusts = {"trust_remote_code": config.trust_remote_code}
    typed = {"pair": {"student": trusts, "teacher": trusts}, "sandbox": config.sandbox}
    trained = gate.typed(saved.settings(folder, typed), TrainConfig)
    if config.checkpoints == "last" and (folder / "summary.json").is_file():
        step = record.last_step(folder)
        # The chat template in use and the stop tokens were saved with the student.
        path = str(folder.absolute() / "student")
        model = replace(trained.pair.student, path=path, revision=None, chat_template=None)
        own_stop = trained.pair.stop == "student"
        return Subject(model, [Weights(step)], own_stop=own_stop, dtype=trained.pair.dtype)
    if not kept:
        raise ConfigError(f"run={folder}: holds no checkpoint; let it train first")
    trained = with_random_weights(trained)
    pairing = resolve_pairing(trained.pair, *preflight.check_models(trained))
    wanted = kept if config.checkpoints == "all" else kept[-1:]
    load = _Checkpoints(trained)
    states = [Weights(files.step_of(path), partial(load, path)) for path in wanted]
    pair = trained.pair
    return Subject(pair.student, states, pairing.stop_ids, pair.stop == "student", pair.dtype)


class _Checkpoints:
    """Loads merged weights of a run's checkpoints; the base model is loaded only once."""

    def __init__(self, trained: TrainConfig) -> None:
        self._trained = trained
        self._tuning: tuning.Tuning | None = None

    def __call__(self, folder: Path) -> dict[str, Any]:
        if self._tuning is None:
            student = self._trained.pair.student
            dtype = self._trained.pair.dtype
            dtype = "float32" if dtype == "auto" else dtype  # adapters are merged exactly
            model = loading.load_model(
                student.path, dtype, "cpu", student.revision, student.trust_remote_code
            )
            self._tuning = tuning.make(model, self._trained.tune)
        return snapshot.merged(folder, self._tuning)
