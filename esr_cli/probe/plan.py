"""What a probe works on: a pair as its settings say, or as a run's folder does."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from esr_cli.assembly import preflight
from esr_cli.assembly.data import Task, make_task
from esr_cli.assembly.pairing import Pairing, resolve_pairing
from esr_cli.assembly.random_pair import with_random_weights
from esr_cli.base import files
from esr_cli.benchmarks import catalog
from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.exam import Exam
from esr_cli.config import BenchmarkConfig, ConfigError, ModelConfig, ProbeCommandConfig, gate
from esr_cli.runs import folder as run_folder
from esr_cli.tasks.chat import Chat
from esr_cli.types import Question

# What `esr probe run=` takes from the command line in any case ...
OF_THE_COMMAND = ("probe", "run", "out", "prompts", "samples", "source", "execution", "sandbox")
# ... and where it is given there; of rollout everything but how responses were drawn.
MAY_CHANGE = ("benchmark", "wording", "limit", "data_dir", "rollout")
ENGINE = ("engine", "max_sequences", "gpu_memory_utilization")
FILES = ("config.yaml", "metrics.jsonl", "eval.jsonl")
NOT_IN_NAME = re.compile(rf"(out|probe)=|{run_folder.NOT_IN_NAME.pattern}")


@dataclass(frozen=True)
class Plan:
    """Everything that is known before a model loads.

    `models`, `exams` and `steps` by who answers: `before` and `teacher`, and with a run `after`;
    `tokenizers` by `student` and `teacher`. A run's evaluations at `steps` drew the same responses.
    """

    config: ProbeCommandConfig
    benchmark: Benchmark
    pairing: Pairing
    tokenizers: dict[str, Any]
    models: dict[str, ModelConfig]
    exams: dict[str, Exam]
    steps: dict[str, int]

    @property
    def students(self) -> list[str]:
        """`before`, and `after` where there is a run."""
        return [who for who in self.models if who != "teacher"]

    def tokenizer_of(self, who: str) -> Any:
        """The tokenizer of whoever answers."""
        return self.tokenizers["teacher" if who == "teacher" else "student"]


def resolve(config: ProbeCommandConfig, overrides: list[str]) -> ProbeCommandConfig:
    """With `run=` the settings of the run, under what only the command says.

    Raises `ConfigError` where the folder holds no complete run, or the command changes what a run
    was made with.
    """
    if not config.run:
        return config
    folder = Path(config.run)
    # Stability reads files alone: of a run that broke off, too.
    needed = FILES if list(config.probe) == ["stability"] else ("summary.json", "config.yaml")
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        unfinished = f"; go on with: esr train resume={folder}" if files.latest(folder) else ""
        raise ConfigError(
            f"run={folder}: holds no complete run ({missing[0]} is missing){unfinished}"
        )
    saved, given = run_folder.saved_config(folder), gate.as_plain(config)
    named = {
        text.lstrip("+~").split("=")[0].split("@")[0].split(".")[0]: text for text in overrides
    }
    for key, text in named.items():
        if key not in (*OF_THE_COMMAND, *MAY_CHANGE):
            raise ConfigError(f"{text}: run={folder} brings its own; leave it out")
    taken = {key: given[key] for key in MAY_CHANGE if key in named}
    taken |= {key: given[key] for key in OF_THE_COMMAND}
    if "benchmark" in named:
        taken["benchmark"] = _benchmarks(saved["benchmark"], given["benchmark"], overrides, folder)
    taken["rollout"] = saved["rollout"] | {key: given["rollout"][key] for key in ENGINE}
    return gate.typed({**saved, **taken, "resume": None}, ProbeCommandConfig)


def _benchmarks(
    saved: dict[str, Any], given: dict[str, Any], overrides: list[str], folder: Path
) -> dict[str, Any]:
    """Another benchmark as it is given; of the run's own only what is named changes.

    Raises `ConfigError` for one that the run does not have.
    """
    keys = [text.lstrip("+~").split("=")[0].split("@")[0] for text in overrides]
    if "benchmark" in keys:
        return given
    changed = {name: dict(each) for name, each in saved.items()}
    for _, name, *path in (key.split(".") for key in keys if key.startswith("benchmark.")):
        if name not in saved:
            own = ", ".join(saved)
            raise ConfigError(f"benchmark.{name}: run={folder} has {own}; give benchmark={name}")
        changed[name] = _with(changed[name], given[name], path)
        if path == ["samples"]:
            # As many as were drawn in training may be more than there are now.
            changed[name]["pass_at"] = given[name]["pass_at"]
    return changed


def _with(tree: dict[str, Any], other: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The tree with what stands at a path of the other."""
    if not path:
        return other
    key, *rest = path
    return {**tree, key: _with(tree[key], other[key], rest) if rest else other[key]}


def plan(config: ProbeCommandConfig, task: Task | None = None) -> Plan:
    """Checks models, tokenizers, data and room of resolved settings; raises `ConfigError`.

    `task` is that of the settings where it is loaded already.
    """
    benchmark = _task(config) if config.source == "task" else _benchmark(config)
    config = with_random_weights(config)
    student, teacher = preflight.check_models(config)
    pair = config.pair
    pairing = resolve_pairing(pair, student, teacher)
    own = preflight.exam(benchmark, pair.student, student, config.seed, pairing.stop_ids)
    theirs = preflight.exam(benchmark, pair.teacher, teacher, config.seed, pairing.teacher_ends)
    if config.source == "task":
        task = task or make_task(config, student, teacher)
        own, theirs = _as_rollouts(config, own, theirs, task)
    else:
        chats = Chat.of(student, pair.student), Chat.of(teacher, pair.teacher)
        own = replace(own, prompts=preflight.prompts_of(benchmark, *chats))
        preflight.check_room([own, theirs], pair.context_tokens, "pair.context_tokens")
    models = {"before": pair.student, "teacher": pair.teacher}
    exams = {"before": own, "teacher": theirs}
    steps = {"before": 0, "teacher": 0}
    if config.run:
        folder = Path(config.run)
        models["after"] = replace(
            # Whole: `NAME/student` would be taken for a hub id where there is no such folder.
            pair.student,
            path=str(folder.absolute() / "student"),
            revision=None,
            chat_template=None,
        )
        preflight.check_model("run", models["after"], config.rollout)
        exams["after"] = own
        steps["after"] = files.read_rows(folder / "metrics.jsonl")[-1]["step"]
    tokenizers = {"student": student, "teacher": teacher}
    return Plan(config, benchmark, pairing, tokenizers, models, exams, steps)


def folder_of(config: ProbeCommandConfig, overrides: list[str]) -> Path:
    """Where the figures go; raises `ConfigError` where it cannot be written."""
    if config.out:
        folder = Path(config.out)
    elif config.run:
        folder = Path(config.run) / "probes"
    else:
        name = run_folder.name_of(overrides, NOT_IN_NAME)
        folder = Path("runs") / config.pair.name / f"probes-{name}"
    run_folder.need_writable("out", folder)
    return folder


def _task(config: ProbeCommandConfig) -> Benchmark:
    """The training task in the place of a benchmark: whole responses, drawn as its rollouts are."""
    rollout = config.rollout
    drawn = BenchmarkConfig(
        samples=config.samples or 1, temperature=rollout.temperature, top_p=rollout.top_p,
        max_tokens=config.pair.max_response_tokens,
    )  # fmt: skip
    return Benchmark(config.task.name, drawn, [])


def _as_rollouts(
    config: ProbeCommandConfig, own: Exam, theirs: Exam, task: Task
) -> tuple[Exam, Exam]:
    """The first prompts of training; its data have left out what the context has no room for.

    The student draws only tokens that the teacher has, as in training.
    """
    prompts = task.train(0, min(config.prompts, task.available))
    read = [replace(each, student_ids=each.teacher_ids) for each in prompts]
    own, theirs = (
        replace(
            exam, prompts=asked,
            sampling=replace(
                exam.sampling, top_k=config.rollout.top_k, purpose="probe", shared_only=exam is own
            ),
        )
        for exam, asked in ((own, prompts), (theirs, read))
    )  # fmt: skip
    return own, theirs


def spaced(questions: list[Question], most: int) -> list[Question]:
    """At most so many, evenly spaced: in many files the first are all of one kind."""
    count = min(most, len(questions))
    return [questions[place * len(questions) // count] for place in range(count)]


def _benchmark(config: ProbeCommandConfig) -> Benchmark:
    if len(config.benchmark) > 1:
        names = ",".join(config.benchmark)
        raise ConfigError(f"benchmark=[{names}]: a probe asks one; choose benchmark=NAME")
    # Of the questions that an evaluation asks.
    [found] = catalog.load_all(config.benchmark, config.data_dir, config.limit)
    found = replace(found, questions=spaced(found.questions, config.prompts))
    if config.samples is None:
        return found
    # pass@k is none of a probe's figures.
    return replace(found, config=replace(found.config, samples=config.samples, pass_at=[]))
