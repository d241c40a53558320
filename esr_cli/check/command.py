"""`esr check`: reports what a run would do and need, before it starts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.table import Table

from esr_cli.assembly import preflight
from esr_cli.assembly.data import make_task
from esr_cli.assembly.examiner import Examiner
from esr_cli.assembly.memory import Need
from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.assembly.random_pair import with_random_weights
from esr_cli.base.words import counted
from esr_cli.check import compatibility, facts, machine, prompts
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.config.finding import Finding
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
    run_facts, asked = None, dict[str, Prompt]()
    with suppress(ConfigError):
        report.attempt(
            "run folder", lambda: run_folder.need_free(run_folder.path_of(config, overrides))
        )
    with suppress(ConfigError):
        run_facts, asked = _gather(config, report)
    for each in (*machine.versions(config), *machine.wandb(config)):
        report.add(each)
    report.print()
    if run_facts:
        both = chats(config.pair, run_facts.student, run_facts.teacher)
        _print_prompts(compatibility.rendered(*both, run_facts.prompts[0]))
        for name in prompts.differing(config):
            if name in asked:
                (_, text), *_ = compatibility.rendered(*both, asked[name])
                print(f"--- the first prompt of {name} as the student reads it\n{text}")
        _print_memory(run_facts.needs)
    errors = sum(each.status == "error" for each in report.findings)
    if errors:
        raise ConfigError(f"{counted(errors, 'error')}; esr train would refuse this")
    print("esr train would start")


class _Report:
    """Collects findings in order."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(self, finding: Finding) -> None:
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
            status = f"[{COLOURS[each.status]}]{each.status}[/]"
            # Brackets in the text are not markup.
            table.add_row(status, each.topic, each.text.replace("[", "\\["))
        # When the output is not a terminal, wide enough that no finding wraps.
        Console(highlight=False, width=None if sys.stdout.isatty() else 1000).print(table)


def _gather(config: TrainConfig, report: _Report) -> tuple[facts.RunFacts, dict[str, Prompt]]:
    """What is known about the run, and the first prompt of each benchmark that can be asked."""
    config = report.attempt("random weights", lambda: with_random_weights(config, drawn=False))
    student, teacher = report.attempt("models", lambda: preflight.check_models(config, drawn=False))
    pairing = report.attempt("vocabulary", lambda: resolve_pairing(config.pair, student, teacher))
    asked: dict[str, Prompt] = {}
    with suppress(ConfigError):
        asked = report.attempt(
            "benchmarks", lambda: _benchmarks(config, student, pairing.stop_ids, report)
        )
    task = report.attempt("data", lambda: make_task(config, student, teacher))
    report.add(Finding("ok", "data", task.report))
    report.add(prompts.forms(config))
    if config.auto_length:
        with suppress(ConfigError):
            report.attempt("rollout length", lambda: plan(profile_of(config), task))
    known = report.attempt("data", lambda: facts.gather(config, student, teacher, pairing, task))
    for each in facts.findings(known):
        report.add(each)
    return known, asked


def _benchmarks(
    config: TrainConfig, tokenizer: Any, stop_ids: tuple[int, ...], report: _Report
) -> dict[str, Prompt]:
    """Loads the benchmarks as a run does: checks their sandboxes and the context length too.

    Returns the first prompt of each.
    """
    warnings: list[str] = []
    examiner = Examiner(config, tokenizer, stop_ids, warnings.append)
    examiner.close()
    for warning in warnings:
        report.add(Finding("warning", "sandbox", warning.removeprefix("warning: ")))
    report.add(Finding("ok", "benchmarks", ", ".join(config.benchmark)))
    return examiner.first_prompts()


def _print_prompts(shown: list[tuple[str, str]]) -> None:
    print()
    for role, text in shown:
        print(f"--- the first prompt as the {role} reads it")
        print(text)


def _print_memory(needs: list[Need]) -> None:
    table = Table("GiB (estimate)", "at N", "full rollouts", box=None, pad_edge=False)
    for need in needs:
        table.add_row(need.part, f"{need.at_n:.2f}", f"{need.full:.2f}")
    print()
    Console(highlight=False).print(table)
