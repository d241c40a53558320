"""`esr check`: what a run would do and take, before anything is spent on it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.table import Table

from esr_cli.assembly import preflight
from esr_cli.assembly.data import make_task
from esr_cli.assembly.memory import Need
from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.assembly.random_pair import with_random_weights
from esr_cli.check import compatibility, facts, machine
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.config.finding import Finding
from esr_cli.runs import folder as run_folder
from esr_cli.tasks.chat import Chat
from esr_cli.train import auto_length
from esr_cli.train.examiner import Examiner

COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def run(config: TrainConfig, overrides: list[str]) -> None:
    """Prints a line a finding; raises `ConfigError` that counts the errors, where there are any."""
    if config.resume:
        raise ConfigError(f"resume={config.resume}: esr check looks at new runs; leave it out")
    report = _Report()
    known = None
    with suppress(ConfigError):
        report.attempt("run folder", lambda: run_folder.free_folder(config, overrides))
    with suppress(ConfigError):
        known = _known(config, report)
    for each in (*machine.versions(config), *machine.wandb(config)):
        report.add(each)
    report.print()
    if known:
        chats = (
            Chat.of(known.student, config.pair.student),
            Chat.of(known.teacher, config.pair.teacher),
        )
        _print_prompts(compatibility.rendered(*chats, known.prompts[0]))
        _print_memory(known.needs)
    errors = sum(each.status == "error" for each in report.findings)
    if errors:
        raise ConfigError(f"{errors} error{'s' if errors > 1 else ''}; esr train would refuse this")
    print("esr train would start")


class _Report:
    """Findings in the order in which they are made."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(self, finding: Finding) -> None:
        self.findings.append(finding)

    def attempt(self, topic: str, made: Callable[[], Any]) -> Any:
        """What `made` gives; a `ConfigError` of it is a finding, and goes on up."""
        try:
            return made()
        except ConfigError as error:
            self.add(Finding("error", topic, str(error)))
            raise

    def print(self) -> None:
        """A line a finding: its status in colour, what it is about, what it says."""
        table = Table(show_header=False, box=None, pad_edge=False)
        for each in self.findings:
            status = f"[{COLOURS[each.status]}]{each.status}[/]"
            # Brackets in what is said are no markup.
            table.add_row(status, each.topic, each.text.replace("[", "\\["))
        # A line a finding wherever it is not read on a terminal.
        Console(highlight=False, width=None if sys.stdout.isatty() else 1000).print(table)


def _known(config: TrainConfig, report: _Report) -> facts.RunFacts:
    config = report.attempt("random weights", lambda: with_random_weights(config, drawn=False))
    student, teacher = report.attempt("models", lambda: preflight.check_models(config, drawn=False))
    pairing = report.attempt("vocabulary", lambda: resolve_pairing(config.pair, student, teacher))
    with suppress(ConfigError):
        report.attempt(
            "benchmarks", lambda: _benchmarks(config, student, pairing.stop_ids, report)
        )  # fmt: skip
    task = report.attempt("data", lambda: make_task(config, student, teacher))
    report.add(Finding("ok", "data", task.report))
    if config.auto_length:
        with suppress(ConfigError):
            report.attempt("rollout length", lambda: auto_length.check(config, task))
    known = report.attempt("data", lambda: facts.gather(config, student, teacher, pairing, task))
    for each in facts.findings(known):
        report.add(each)
    return known


def _benchmarks(
    config: TrainConfig, tokenizer: Any, stop_ids: tuple[int, ...], report: _Report
) -> None:
    """Loads them, sandbox and room included, as a run does."""
    said: list[str] = []
    examiner = Examiner(config, tokenizer, stop_ids, said.append)
    examiner.close()
    for warning in said:
        report.add(Finding("warning", "sandbox", warning.removeprefix("warning: ")))
    report.add(Finding("ok", "benchmarks", ", ".join(config.benchmark)))


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
