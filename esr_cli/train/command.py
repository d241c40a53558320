"""`esr train`: the loop of sampling N tokens, scoring, updating and handing over the weights."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from esr_cli.assembly import adapting, preflight, workers
from esr_cli.assembly.data import fingerprint, make_task
from esr_cli.assembly.examiner import Examiner
from esr_cli.assembly.memory import dtype_of
from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.assembly.random_pair import with_random_weights
from esr_cli.base import files
from esr_cli.base.failures import Failure, Resumable, summary
from esr_cli.base.process import peak_gib
from esr_cli.check import command as check_command
from esr_cli.check import facts
from esr_cli.config import TrainConfig, gate
from esr_cli.config.finding import Finding, refuse
from esr_cli.execution.several import WatchedEngines
from esr_cli.execution.team import TeamError
from esr_cli.runs import environment, labels
from esr_cli.runs import folder as run_folder
from esr_cli.runs.alarms import Alarms
from esr_cli.runs.metrics import Interrupts, gpu_name, kl_profile, rollout_metrics
from esr_cli.runs.service import need_packages
from esr_cli.runs.tracking import Tracker
from esr_cli.student import snapshot
from esr_cli.train import auto_length, resuming
from esr_cli.train.gauge import Gauge, OutsideCheck, comparable
from esr_cli.train.outcome import check_saves, finish
from esr_cli.train.steps import Steps, ahead_of
from esr_cli.train.watching import Watching, begin

MOST_SKIPS = 5


def run(config: TrainConfig, overrides: list[str]) -> None:
    """Trains as configured; raises `ConfigError` before a model loads, `Resumable` afterwards.

    If a rank dies, resumes from the last checkpoint, up to `execution.restarts` times.
    """
    if config.dry_run:
        check_command.run(config, overrides)
        return
    deaths: list[str] = []
    while True:
        try:
            _attempt(config, overrides, deaths)
            return
        except resuming.RankDied as death:
            if len(deaths) == death.restarts:
                raise
            deaths.append(death.line)
            config, overrides = replace(config, resume=str(death.folder)), []


def _attempt(config: TrainConfig, overrides: list[str], deaths: list[str]) -> None:
    """One of several attempts at a run; `deaths` says why those before it ended."""
    with ExitStack() as stack:
        saved = None
        if config.resume:
            # Locked first: an earlier job may still be writing checkpoints and rows.
            stack.enter_context(run_folder.lock_saved(Path(config.resume)))
            config, saved = resuming.reopen(config, overrides)
            if complete := resuming.complete(config, overrides, saved):
                print(complete)
                return
            if deaths:
                line = f"{deaths[-1]}; resuming from {saved.checkpoint.name}"
                saved = replace(saved, notes=[line, *saved.notes])
        _run(config, overrides, saved, stack)


def _run(
    config: TrainConfig, overrides: list[str], saved: resuming.Saved | None, stack: ExitStack
) -> None:  # fmt: skip
    need_packages(config.tracking)
    config, adapted = adapting.begun(config, overrides, new=saved is None)
    original, config = config, with_random_weights(config)
    tokenizer, teacher_tokenizer = preflight.check_models(config)
    pairing = resolve_pairing(config.pair, tokenizer, teacher_tokenizer)
    task = make_task(config, tokenizer, teacher_tokenizer)
    findings = facts.findings(facts.gather(config, tokenizer, teacher_tokenizer, pairing, task))
    refuse(findings)
    examiner = Examiner(config, tokenizer, pairing.stop_ids, print)
    interrupts = stack.enter_context(Interrupts())
    if saved:
        folder = saved.folder
    else:
        folder = run_folder.path_of(original, overrides)
        stack.enter_context(run_folder.lock(folder))
        run_folder.need_free(folder)
    start = saved.step if saved else 0
    original, measured = auto_length.resolve(original, folder, task)
    original, config = _without_auto(original, original), _without_auto(config, original)
    plain = gate.as_plain(original)
    if not saved:
        run_folder.open_new(folder, plain)
    served = [each.said for each in findings if each.topic == "teacher"]
    environment.note(folder, start, gpu_name(), _command(config, overrides), served)
    stack.callback(examiner.close)
    tracker = stack.enter_context(
        Tracker(folder, plain, labels.labelled(config), config.steps, start)
    )
    data = fingerprint(task)
    notes = [f"run folder: {folder}", *adapted, measured, task.report]
    _announce(tracker, notes, findings, resuming.warnings(saved, data) if saved else [])
    tracker.note(f"starting the engine ({config.rollout.engine}) and the teacher")
    try:
        parts = workers.assemble(
            config, folder, pairing, stack, tracker.warn, folder / run_folder.CANARY
        )
        check_saves(parts.student, tokenizer, folder)
        if saved:
            snapshot.restore(saved.checkpoint, parts.student)
            # Only now, as the checkpoint has proved readable.
            run_folder.rewind(folder, start, plain)
        tracker.open_mirror()
        watching = begin(config, folder, parts.sampling, task, tokenizer, tracker, stack)
        loop = Loop(config, folder, parts, task, examiner, tracker, data, watching)
    except TeamError as error:
        raise resuming.resumable(config, folder, error) from error
    try:
        loop.run(start, interrupts)
        finish(config, folder, parts.student, tokenizer, tracker)
    except (Exception, KeyboardInterrupt) as error:
        failure = resuming.cause(error)
        _record_end(tracker, failure, bool(interrupts.signal_name))
        if interrupts.signal_name:
            raise Resumable(resuming.how_to(config, folder, error)) from failure
        raise resuming.resumable(config, folder, error) from failure


def _record_end(tracker: Tracker, failure: Exception, by_signal: bool) -> None:
    """Writes how a run ended to its log; the terminal gets that line at the end of the command."""
    stopped = by_signal or isinstance(failure, resuming.Stopped)
    with suppress(OSError):  # the disk may be what failed
        tracker.record(summary(failure) if stopped else f"failed: {summary(failure)}")


def _without_auto(config: TrainConfig, original: TrainConfig) -> TrainConfig:
    """The settings with what `auto` has become, so that no other machine changes it on resume.

    `original` has the N that was chosen, and a pair that random weights have not replaced.
    """
    rollout = replace(original.rollout, weights=workers.weights_of(original))
    pair = replace(config.pair, dtype=dtype_of(original))
    return replace(config, rollout=rollout, pair=pair)


def _announce(
    tracker: Tracker, notes: Sequence[str], findings: Sequence[Finding], warnings: Sequence[str]
) -> None:
    """Prints what is known before the workers start; empty notes are left out."""
    for line in filter(None, notes):
        tracker.note(line)
    for finding in findings:
        if finding.status == "warning" and finding.topic.endswith(("template", "teacher's length")):
            tracker.warn(f"{finding.topic} {finding.text}")
    for line in warnings:
        tracker.warn(line)


class Loop:
    """The training loop, with evaluations, checkpoints and alarms when they are due."""

    def __init__(
        self, config: TrainConfig, folder: Path, parts: workers.Parts, task: Any,
        examiner: Examiner, tracker: Tracker, data: str, watching: Watching | None,
    ) -> None:  # fmt: skip
        self.config, self.folder, self.parts = config, folder, parts
        self.steps, self.watching = Steps(parts, task, config, watching), watching
        self.examiner, self.tracker, self.data = examiner, tracker, data
        dtype = str(parts.student.dtype).removeprefix("torch.")
        self.comparable = comparable(config)
        self.gauge = Gauge(dtype, config.strict, tracker.warn)
        self.outside_check = OutsideCheck(config.pair.outside_warn, tracker.warn)
        uncut = config.rollout_tokens >= config.pair.max_response_tokens
        self.alarms = Alarms(config.alarms, uncut and config.lengths.schedule == "constant")
        self.alarms.replay(
            files.read_rows(folder / "metrics.jsonl"), files.read_rows(folder / "eval.jsonl")
        )
        self.skipped_in_a_row, self.suspect = 0, False
        parts.student.check_weights("before the first step")

    def run(self, start: int, interrupts: Interrupts) -> None:
        """Runs steps `start` to `config.steps`; a signal stops it after a step and a checkpoint."""
        ready_s = self.parts.wait_ready()
        self.tracker.note(f"engine and teacher ready in {ready_s:.0f} s")
        self._note_workers()
        # A run that was interrupted between saving and evaluating is evaluated here.
        if self._eval_due(start) and not self._evaluated(start):
            run_folder.forget_evaluation(self.folder, start)
            self._evaluate(start)
        interrupts.check()
        interrupts.waiting = True
        self.tracker.begin()
        for step in range(start, self.config.steps):
            later = ahead_of(step, step == start, self.config, self._due)
            ahead = {each: self._limits(each) for each in later}
            rollouts, update, times = self.steps.take(step, self._limits(step), ahead)
            metrics = update.metrics | rollout_metrics(rollouts) | times
            if self.config.rollout.staleness:
                metrics["rollout/stale"] = float(self.steps.lag)
            if not update.skipped:
                profile = kl_profile(update.kl_by_rollout)
                self.tracker.append("kl_by_position.jsonl", {"step": step + 1, **profile})
            self.tracker.log(step + 1, metrics | {"memory/peak_gib": peak_gib()})
            self._check(update)
            self._alarm(self.alarms.after_step(metrics))
            if self.watching:
                self.watching.after_step(metrics)
            self._when_due(step + 1, bool(interrupts.signal_name))
            if interrupts.signal_name and step + 1 < self.config.steps:
                raise Failure(f"stopped by {interrupts.signal_name} after step {step + 1}")
        interrupts.waiting = False
        if self.suspect:
            raise resuming.SkippedError("the last step was skipped, so the student is not saved")

    def _limits(self, step: int) -> Sequence[int]:
        count = self.config.prompts_per_step * self.parts.sampling.samples
        return self.parts.lengths.lengths_at(step, count)

    def _due(self, step: int) -> bool:
        return self._save_due(step) or self._eval_due(step)

    def _save_due(self, step: int) -> bool:
        return step == self.config.steps or step % self.config.save_every == 0

    def _when_due(self, step: int, stopping: bool) -> None:
        ends = step == self.config.steps
        # Weights that give no finite loss would push out the good checkpoints.
        if (stopping or self._save_due(step)) and not self.suspect:
            run_folder.sync_records(self.folder)
            student, keep = self.parts.student, self.config.keep_checkpoints
            snapshot.save(self.folder, step, student, keep, self.data)
        if ends or (self._eval_due(step) and not stopping):
            self._evaluate(step)

    def _eval_due(self, step: int) -> bool:
        every = self.config.eval_every
        return step in (0, self.config.steps) or bool(every and step % every == 0)

    def _evaluated(self, step: int) -> bool:
        return any(row["step"] == step for row in files.read_rows(self.folder / "eval.jsonl"))

    def _evaluate(self, step: int) -> None:
        if not self.config.benchmark:
            return
        began = time.perf_counter()
        self.parts.engine.load_weights(self.parts.student.weights())
        watched = WatchedEngines(self.parts.engine, self.tracker.progress)
        evaluations = self.examiner(watched, step)
        rows = [row for each in evaluations for row in each.rows]
        generations = [row for each in evaluations for row in each.generations]
        for warning in (each.warning for each in evaluations if each.warning):
            self.tracker.note(warning)
        self.tracker.log_eval(rows, generations, time.perf_counter() - began)
        self._alarm(self.alarms.after_evaluation(rows))
        self._note_workers()

    def _note_workers(self) -> None:
        for line in self.parts.take_notes():
            self.tracker.note(line)

    def _alarm(self, messages: list[str]) -> None:
        for message in messages:
            self.tracker.alarm(message)

    def _check(self, update: Any) -> None:
        self.suspect = update.suspect
        if update.skipped:
            self.skipped_in_a_row += 1
            self.tracker.warn(f"{update.skipped}; the step is skipped")
        else:
            self.skipped_in_a_row = 0
            if self.comparable and not self.steps.lag:
                self.gauge.check(update.gaps)
            self.outside_check.check(update.metrics)
        if self.skipped_in_a_row >= MOST_SKIPS:
            raise resuming.SkippedError(
                f"{MOST_SKIPS} steps in a row were skipped: {update.skipped}"
            )


def _command(config: TrainConfig, overrides: list[str]) -> str:
    """The command line of this start; a run that restarts itself has none of its own."""
    typed = overrides or ([f"resume={config.resume}"] if config.resume else [])
    return shlex.join(["esr", "train", *typed])
