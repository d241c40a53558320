"""`esr check`: reports what a run would do and need, before it starts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.table import Table
from rich.text import Text

from esr_cli.assembly import adapting, model_folder, preflight
from esr_cli.assembly.data import Task, make_task
from esr_cli.assembly.examiner import Examiner
from esr_cli.assembly.memory import Need
from esr_cli.assembly.pairing import Pairing, resolve_pairing
from esr_cli.assembly.random_pair import with_random_weights
from esr_cli.base import terminal
from esr_cli.base.failures import one_line
from esr_cli.base.words import counted
from esr_cli.check import compatibility, facts, machine, prompts, trial
from esr_cli.check.estimate import Estimate, finding, of_run, words
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.config.finding import Finding
from esr_cli.config.needed import file_checks
from esr_cli.probe.plan import plan
from esr_cli.probe.settings import profile_of
from esr_cli.runs import folder as run_folder
from esr_cli.tasks.chat import chats
from esr_cli.types import Prompt

COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def run(config: TrainConfig, overrides: list[str]) -> None:
    """Prints one line per finding; raises `ConfigError` with the number of errors, if any."""
    if config.resume:
        raise ConfigError(f"resume={config.resume}: esr check only checks new runs; leave it out")
    report = _Report()
    with suppress(ConfigError):
        report.attempt(
            "run folder", lambda: run_folder.need_free(run_folder.path_of(config, overrides))
        )
    config = _adapted(config, overrides, report)
    known = _gather(config, report)
    for each in (*machine.versions(config), *machine.trackers(config)):
        report.add(each)
    found = _estimate(known, report) if known.facts and not report.errors else None
    report.print()
    if known.prompts:
        _print_prompts(known, config)
    if known.facts:
        _print_memory(known.facts.needs)
    if found:
        _print_time(found)
    if report.errors:
        raise ConfigError(f"{counted(report.errors, 'error')}; esr train would refuse this")
    print("esr train would start")


@dataclass
class _Known:
    """What is known about a run: the parts that its errors leave."""

    tokenizers: tuple[Any, Any] | None = None
    prompts: list[Prompt] = field(default_factory=list)
    facts: facts.RunFacts | None = None
    examiner: Examiner | None = None


class _Report:
    """Collects findings in order."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    @property
    def errors(self) -> int:
        """The number of errors."""
        return sum(each.status == "error" for each in self.findings)

    def add(self, finding: Finding) -> None:
        # What is missing can be met twice.
        if finding.text not in {each.text for each in self.findings}:
            self.findings.append(finding)

    def attempt(self, topic: str, action: Callable[[], Any]) -> Any:
        """The result of `action`; its `ConfigError` is recorded as a finding and re-raised."""
        try:
            return action()
        except ConfigError as error:
            self.add(Finding("error", topic, str(error)))
            raise

    def print(self) -> None:
        """Prints one line per finding: its status in colour, its topic, its text."""
        table = Table(show_header=False, box=None, pad_edge=False)
        for each in self.findings:
            table.add_row(Text(each.status, COLOURS[each.status]), each.topic, each.text)
        terminal.show(table)


def _adapted(config: TrainConfig, overrides: list[str], report: _Report) -> TrainConfig:
    """The settings with which the run would begin, see `adapting.begun`; adds a finding on each
    change and on each missing file and model.
    """
    config, left_out = adapting.available(config, overrides)
    for topic, needed in file_checks(config):
        with suppress(ConfigError):
            report.attempt(topic, needed)
    notes: list[str] = []
    with suppress(ConfigError):
        config, notes = report.attempt("models", lambda: adapting.fitted(config, overrides))
    if chosen := adapting.brought(config, overrides):
        report.add(Finding("ok", "pair", chosen))
    for note in left_out:
        report.add(Finding("warning", "benchmarks", note))
    for note in notes:
        report.add(Finding("warning", "context", note))
    return config


def _gather(config: TrainConfig, report: _Report) -> _Known:
    """Adds a finding on each thing that is known; an error ends only what needs it."""
    known = _Known()
    with suppress(ConfigError):
        config = report.attempt("random weights", lambda: with_random_weights(config, drawn=False))
        for key, model in preflight.named(config.pair).items():
            with suppress(ConfigError):
                weights = config.pair.weights == "pretrained"
                report.attempt("models", partial(model_folder.check, key, model, weights))
        known.tokenizers = report.attempt(
            "models", lambda: preflight.check_models(config, drawn=False)
        )
    if known.tokenizers is None:
        return known
    student, teacher = known.tokenizers
    pairing: Pairing | None = None
    with suppress(ConfigError):
        pairing = report.attempt(
            "vocabulary", lambda: resolve_pairing(config.pair, student, teacher)
        )
    with suppress(ConfigError):
        stop_ids = pairing.stop_ids if pairing else ()
        known.examiner = report.attempt(
            "benchmarks", lambda: _benchmarks(config, student, stop_ids, report)
        )
    with suppress(ConfigError):
        task = report.attempt("data", lambda: make_task(config, student, teacher))
        report.add(Finding("ok", "data", task.report))
        known.prompts = task.train(0, 1)
        _of_task(config, task, pairing, known, report)
    return known


def _of_task(
    config: TrainConfig, task: Task, pairing: Pairing | None, known: _Known, report: _Report
) -> None:
    """Adds the findings that need the training prompts, and with a pairing all others."""
    report.add(prompts.forms(config))
    if config.auto_length:
        with suppress(ConfigError):
            report.attempt("rollout length", lambda: plan(profile_of(config), task))
    if pairing is None or known.tokenizers is None:
        return
    student, teacher = known.tokenizers
    found = report.attempt("data", lambda: facts.gather(config, student, teacher, pairing, task))
    for each in facts.findings(found):
        report.add(each)
    known.facts = found


def _benchmarks(
    config: TrainConfig, tokenizer: Any, stop_ids: tuple[int, ...], report: _Report
) -> Examiner:
    """Loads the benchmarks as a run does: checks their sandboxes and the context length too."""
    warnings: list[str] = []
    examiner = Examiner(config, tokenizer, stop_ids, warnings.append)
    examiner.close()
    for warning in warnings:
        report.add(Finding("warning", "sandbox", warning.removeprefix("warning: ")))
    if config.benchmark:
        report.add(Finding("ok", "benchmarks", ", ".join(config.benchmark)))
    else:
        text = "none, so nothing says whether the student gets better"
        report.add(Finding("warning", "benchmarks", text, "give benchmark=NAME or FILE.yaml"))
    return examiner


def _estimate(known: _Known, report: _Report) -> Estimate | None:
    """Adds a finding on the run's time; None if it cannot be estimated."""
    assert known.facts is not None
    models = list(known.facts.models.values())
    if reason := trial.reason_against(known.facts.config, models):
        report.add(Finding("ok", "time", f"not estimated: {reason}"))
        return None
    asked = known.examiner.asked() if known.examiner else {}
    try:
        found = of_run(known.facts, asked)
    except Exception as error:  # the code of the models is third-party
        report.add(Finding("warning", "time", f"not estimated: {one_line(str(error))}"))
        return None
    report.add(finding(found, asked))
    return found


def _print_prompts(known: _Known, config: TrainConfig) -> None:
    """The first prompt as each model reads it, and those of benchmarks that ask otherwise."""
    assert known.tokenizers is not None
    both = chats(config.pair, *known.tokenizers)
    print()
    for role, text in compatibility.rendered(*both, known.prompts[0]):
        print(f"--- the first prompt as the {role} reads it")
        print(text)
    asked = known.examiner.first_prompts() if known.examiner else {}
    for name in prompts.differing(config):
        if name in asked:
            (_, text), *_ = compatibility.rendered(*both, asked[name])
            print(f"--- the first prompt of {name} as the student reads it\n{text}")


def _print_time(found: Estimate) -> None:
    table = Table("time (estimate)", "each", "times", "total", box=None, pad_edge=False)
    rows = {f"{name} of a step": (each, found.steps) for name, each in found.step.items()}
    rows |= {
        f"evaluation of {name}": (each, found.evaluations)
        for name, each in found.evaluation.items()
    }
    for name, (each, times) in rows.items():
        table.add_row(name, words(each), f"{times}", words(each * times))
    if found.watching_s:
        table.add_row("watches on whole responses", "", "", words(found.watching_s))
    table.add_row("all, without start-up and checkpoints", "", "", words(found.total_s))
    print()
    terminal.show(table)


def _print_memory(needs: list[Need]) -> None:
    table = Table("GiB (estimate)", "at N", "full rollouts", box=None, pad_edge=False)
    for need in needs:
        table.add_row(need.part, f"{need.at_n:.2f}", f"{need.full:.2f}")
    print()
    terminal.show(table)
