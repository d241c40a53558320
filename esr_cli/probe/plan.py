"""The plan of a probe: models, prompts and settings, from the command or a run's folder."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from esr_cli.assembly import preflight
from esr_cli.assembly.adapting import fitted
from esr_cli.assembly.data import Task, make_task
from esr_cli.assembly.pairing import Pairing, resolve_pairing
from esr_cli.assembly.random_pair import with_random_weights
from esr_cli.base import files
from esr_cli.benchmarks import catalog
from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.exam import Exam
from esr_cli.config import BenchmarkConfig, ConfigError, ModelConfig, ProbeCommandConfig, gate
from esr_cli.config.errors import need_folder
from esr_cli.config.needed import file_checks
from esr_cli.runs import folder as run_folder
from esr_cli.runs import record, saved
from esr_cli.tasks.chat import chats, untold
from esr_cli.types import Question

# Settings that `esr probe run=` always takes from the command line ...
OF_THE_COMMAND = ("probe", "run", "run_dir", "prompts", "samples", "source", "execution", "sandbox")
# ... and those it takes only if given there; of rollout only the keys in saved.ENGINE.
MAY_CHANGE = ("benchmark", "wording", "limit", "data_dir", "rollout")
FILES = ("config.yaml", "metrics.jsonl", "eval.jsonl")
NOT_IN_NAME = re.compile(rf"(run_dir|probe)=|{run_folder.NOT_IN_NAME.pattern}")


@dataclass(frozen=True)
class Plan:
    """Everything that is known before a model loads.

    The keys of `models`, `exams` and `steps` are the models that respond: `before`, `teacher` and,
    with a run, `after`. The keys of `tokenizers` are `student` and `teacher`. The run's evaluations
    at `steps` sampled the same responses.
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
        """`before` and, with a run, `after`."""
        return [who for who in self.models if who != "teacher"]

    @property
    def prompts(self) -> int:
        """The number of prompts that are asked; `prompts` of the settings is the most."""
        return len(self.exams["before"].prompts)

    def tokenizer_of(self, who: str) -> Any:
        """The tokenizer of `who`, a key of `models`."""
        return self.tokenizers["teacher" if who == "teacher" else "student"]


def resolve(config: ProbeCommandConfig, overrides: list[str]) -> ProbeCommandConfig:
    """With `run=`, the settings of the run, overridden by those that belong to the command.

    Raises `ConfigError` if the folder holds no complete run, or the command changes a setting that
    the run fixes.
    """
    if not config.run:
        return config
    folder = Path(config.run)
    need_folder("run", folder, "name one that esr train made")
    # Stability only reads files, so the run may be incomplete.
    needed = FILES if list(config.probe) == ["stability"] else ("summary.json", "config.yaml")
    missing_files = [name for name in needed if not (folder / name).is_file()]
    if missing_files:
        unfinished = f"; go on with: esr train resume={folder}" if files.latest(folder) else ""
        raise ConfigError(
            f"run={folder}: holds no complete run ({missing_files[0]} is missing){unfinished}"
        )
    given = gate.as_plain(config)
    plain = saved.settings(folder, given)
    typed = saved.typed_only(overrides)
    named = {
        text.lstrip("+~").split("=")[0].split("@")[0].split(".")[0]: text
        for text in overrides if text not in typed
    }  # fmt: skip
    for key, text in named.items():
        if key not in (*OF_THE_COMMAND, *MAY_CHANGE):
            raise ConfigError(f"{text}: run={folder} brings its own; leave it out")
    changed = {key: given[key] for key in MAY_CHANGE if key in named}
    changed |= {key: given[key] for key in OF_THE_COMMAND}
    if "benchmark" in named:
        changed["benchmark"] = _benchmarks(
            plain["benchmark"], given["benchmark"], overrides, folder
        )
    changed["rollout"] = plain["rollout"] | saved.engine(
        plain["rollout"], given["rollout"], overrides
    )
    return gate.typed({**plain, **changed, "resume": None}, ProbeCommandConfig)


def _benchmarks(
    saved: dict[str, Any], given: dict[str, Any], overrides: list[str], folder: Path
) -> dict[str, Any]:
    """The given benchmarks if another is chosen; else the run's own with the named changes.

    Raises `ConfigError` for a benchmark that the run does not have.
    """
    keys = [text.lstrip("+~").split("=")[0].split("@")[0] for text in overrides]
    if "benchmark" in keys:
        return given
    changed = {name: dict(each) for name, each in saved.items()}
    for _, name, *path in (key.split(".") for key in keys if key.startswith("benchmark.")):
        if name not in saved:
            known = ", ".join(saved)
            raise ConfigError(f"benchmark.{name}: run={folder} has {known}; give benchmark={name}")
        changed[name] = _with(changed[name], given[name], path)
        if path == ["samples"]:
            # The run's `pass_at` may exceed the new number of samples.
            changed[name]["pass_at"] = given[name]["pass_at"]
    return changed


def _with(tree: dict[str, Any], other: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The tree with the value at `path` replaced by that of the other tree."""
    if not path:
        return other
    key, *rest = path
    return {**tree, key: _with(tree[key], other[key], rest) if rest else other[key]}


def plan(config: ProbeCommandConfig, task: Task | None = None) -> Plan:
    """Checks models, tokenizers, data and context length of resolved settings.

    `task` is the task of the settings, if it is loaded already. Raises `ConfigError`.
    """
    if config.source == "task":
        for _, check in file_checks(replace(config, benchmark={})):
            check()
    config, notes = fitted(config, [])
    for note in notes:
        print(note, flush=True)
    benchmark = _task(config) if config.source == "task" else _benchmark(config)
    # Only the pair's own teacher is asked.
    config = with_random_weights(config).of_teacher("")
    student, teacher = preflight.check_models(config)
    pair = config.pair
    pairing = resolve_pairing(pair, student, teacher)
    student_exam = preflight.exam(
        benchmark, pair.student, student, config.seed, pairing.stop_ids, pair.stop == "student"
    )
    teacher_exam = preflight.exam(
        benchmark, untold(pair.teacher), teacher, config.seed, pairing.teacher_ends
    )
    if config.source == "task":
        task = task or make_task(config, student, teacher)
        student_exam, teacher_exam = _as_rollouts(config, student_exam, teacher_exam, task)
    else:
        both = chats(pair, student, teacher)
        student_exam = replace(student_exam, prompts=preflight.prompts_of(benchmark, *both))
        preflight.check_room(
            [student_exam, teacher_exam], pair.context_tokens, "pair.context_tokens"
        )
    models = {"before": pair.student, "teacher": pair.teacher}
    exams = {"before": student_exam, "teacher": teacher_exam}
    steps = {"before": 0, "teacher": 0}
    if config.run:
        folder = Path(config.run)
        models["after"] = replace(
            # Absolute: a missing folder `NAME/student` would be taken for a hub id.
            pair.student,
            path=str(folder.absolute() / "student"),
            revision=None,
            chat_template=None,
        )
        preflight.check_model("run", models["after"], config.rollout)
        exams["after"] = student_exam
        steps["after"] = record.last_step(folder)
    tokenizers = {"student": student, "teacher": teacher}
    return Plan(config, benchmark, pairing, tokenizers, models, exams, steps)


def folder_of(config: ProbeCommandConfig, overrides: list[str]) -> Path:
    """The output folder; raises `ConfigError` if it is not writable."""
    if config.run_dir:
        folder = Path(config.run_dir)
    elif config.run:
        folder = Path(config.run) / "probes"
        run_folder.need_no_links("run", [folder])
    else:
        name = run_folder.name_of(overrides, NOT_IN_NAME)
        folder = Path("runs") / config.pair.name / f"probes-{name}"
    run_folder.need_writable("run_dir", folder)
    return folder


def _task(config: ProbeCommandConfig) -> Benchmark:
    """The training task as a benchmark: full responses, sampled like its rollouts."""
    rollout = config.rollout
    sampling = BenchmarkConfig(
        samples=config.samples or 1, temperature=rollout.temperature, top_p=rollout.top_p,
        max_tokens=config.pair.max_response_tokens,
    )  # fmt: skip
    return Benchmark(config.task.name, sampling, [])


def _as_rollouts(
    config: ProbeCommandConfig, student_exam: Exam, teacher_exam: Exam, task: Task
) -> tuple[Exam, Exam]:
    """Replaces the prompts by the first training prompts, whose data are filtered to the context.

    As in training, the student samples only tokens that the teacher has.
    """
    prompts = task.train(0, min(config.prompts, task.available))
    teacher_prompts = [replace(each, student_ids=each.teacher_ids) for each in prompts]
    student_exam, teacher_exam = (
        replace(
            exam, prompts=exam_prompts,
            sampling=replace(
                exam.sampling, top_k=config.rollout.top_k, purpose="probe",
                shared_only=exam is student_exam,
            ),
        )
        for exam, exam_prompts in ((student_exam, prompts), (teacher_exam, teacher_prompts))
    )  # fmt: skip
    return student_exam, teacher_exam


def spaced(questions: list[Question], most: int) -> list[Question]:
    """At most `most` questions, evenly spaced: many files begin with questions of one kind."""
    count = min(most, len(questions))
    return [questions[place * len(questions) // count] for place in range(count)]


def _benchmark(config: ProbeCommandConfig) -> Benchmark:
    if len(config.benchmark) != 1:
        names = ",".join(config.benchmark)
        raise ConfigError(f"benchmark=[{names}]: a probe asks one; choose benchmark=NAME")
    # `limit` applies first, as in an evaluation.
    [benchmark] = catalog.load_all(config.benchmark, config.data_dir, config.limit)
    benchmark = replace(benchmark, questions=spaced(benchmark.questions, config.prompts))
    if config.samples is None:
        return benchmark
    # No probe reports pass@k.
    return replace(benchmark, config=replace(benchmark.config, samples=config.samples, pass_at=[]))
