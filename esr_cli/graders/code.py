"""The grader for code: runs a response's function in the sandbox and compares its results outside.

The expected outputs come from the reference's canonical program. It runs once in the same sandbox,
and its results are cached. Time limits follow evalplus, but count CPU time, which does not depend
on what else the machine does: a call, including the writing of its result, may take four times as
much as the canonical program, but at least 1 s. All calls together may take at most 60 s, and
loading 4 s. By the clock, a run may take ten times as long (`watch`). A run has 1 GiB of address
space, or 4 GiB if the canonical program needs more (one task, Mbpp/255). A call that raises or
times out ends the run, because no later call can change the verdict.

A canonical program that fails or times out costs its own problem: the responses to it are not
judged, whatever they are, until the grader is closed.
"""

from __future__ import annotations

import inspect
import marshal
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from esr_cli.graders import extract, harness, oracles, spelling, wire
from esr_cli.graders.sandbox import Outcome, Sandbox
from esr_cli.types import CodeReference, Grade

FACTOR, LEAST_S, MOST_S = 4.0, 1.0, 60.0
LOAD_S, GRACE_S = 4.0, 1.0
CANONICAL_S = 120.0
CANONICAL_BYTES = 64 << 20
MEMORY_BYTES, MOST_MEMORY_BYTES = 1 << 30, 4 << 30
# A correct result is about as long as the expected one, so longer output is not read.
OUTPUT_FACTOR, OUTPUT_BYTES, LINE_BYTES = 4, 1 << 16, 256
MOST_WORKERS = 16


@dataclass(frozen=True)
class Call:
    """A call's limit in CPU seconds and the format of its result (`spelling.serialize`)."""

    limit_s: float
    form: str


@dataclass(frozen=True)
class Limits:
    """Limits of one run: CPU seconds, address space, and output without the line prefixes."""

    cpu_s: float
    memory_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class Expected:
    """The results of the canonical program, and the limits for a response to the same task."""

    results: tuple[wire.Result, ...]
    calls: tuple[Call, ...]
    limits: Limits


class CodeGrader:
    """`Grader` for `CodeReference`s with `workers` parallel runs (default: cores, at most 16).

    If `raw`, a response continues the reference's prompt, and both together are the program.
    """

    def __init__(
        self, sandbox: str = "bubblewrap", workers: int | None = None, raw: bool = False
    ) -> None:
        self._raw = raw
        workers = workers or min(len(os.sched_getaffinity(0)), MOST_WORKERS)
        self._sandbox = Sandbox(sandbox, slots=workers)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="grade")
        self._source, self._spelling = inspect.getsource(harness), inspect.getsource(spelling)
        # Keyed by identity, as the inputs are not hashable; the entry keeps the reference alive.
        # A text says why there are no expected results.
        self._expected: dict[int, tuple[CodeReference, Expected | str]] = {}

    def grade(self, pairs: Sequence[tuple[str, Any]]) -> list[Grade]:
        """Grades each (response, `CodeReference`); `also["base"]` covers the base inputs alone."""
        new = {id(reference): reference for _, reference in pairs}
        new = {key: reference for key, reference in new.items() if key not in self._expected}
        try:
            for reference, found in zip(
                new.values(), self._pool.map(self._run_canonical, new.values()), strict=True
            ):
                self._expected[id(reference)] = (reference, found)
            return list(self._pool.map(self._grade_one, *zip(*pairs, strict=True)) if pairs else ())
        except BaseException:  # Ctrl-C must not wait for endless loops to time out
            self.close()
            raise

    def equal(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Returns whether the two strings of each pair are the same."""
        return [one == other for one, other in pairs]

    def close(self) -> None:
        """Kills the running programs and shuts the threads down."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._sandbox.stop()
        self._pool.shutdown(wait=True)

    def _run_canonical(self, reference: CodeReference) -> Expected | str:
        """Returns the expected results, or why there are none."""
        form = "any" if oracles.is_exact(reference) else "full"
        calls = [Call(CANONICAL_S, form)] * len(reference.inputs)
        program = [reference.canonical]
        for memory_bytes in (MEMORY_BYTES, MOST_MEMORY_BYTES):
            limits = Limits(CANONICAL_S, memory_bytes, CANONICAL_BYTES)
            outcome, found = self._run(program, reference, calls, limits)
            why = _failure(outcome, found, len(calls))
            if not why:
                break
        else:
            return f"the canonical solution failed: {why}"
        results = [result for result in found if isinstance(result, wire.Result)]
        calls = [
            Call(
                max(LEAST_S, FACTOR * result.cpu_s),
                "hash" if isinstance(result.value, wire.Digest) else "full",
            )
            for result in results
        ]
        cpu_s = min(MOST_S, sum(call.limit_s for call in calls)) + LOAD_S
        output_bytes = OUTPUT_FACTOR * len(outcome.output) + OUTPUT_BYTES
        return Expected(
            tuple(oracles.expected_of(reference, result) for result in results),
            tuple(calls),
            Limits(cpu_s, memory_bytes, output_bytes),
        )

    def _grade_one(self, response: str, reference: CodeReference) -> Grade:
        expected = self._expected[id(reference)][1]
        if isinstance(expected, str):
            return Grade(False, expected, judged=False)
        programs = self._programs(response, reference)
        if not programs:
            return _grade(reference, 0, "no code")
        outcome, found = self._run(programs, reference, expected.calls, expected.limits)
        right = 0
        for given, wanted, result in zip(reference.inputs, expected.results, found, strict=False):
            if isinstance(result, wire.Failure):
                break
            if not oracles.is_right(reference, given, wanted, result):
                return _grade(reference, right, f"wrong output on call {right + 1}")
            right += 1
        reason = _failure(outcome, found, len(reference.inputs))
        return _grade(reference, 0 if reason == wire.MALFORMED else right, reason or "passed")

    def _programs(self, response: str, reference: CodeReference) -> list[str]:
        if self._raw:
            return [extract.continued(response, reference.prompt)]
        return extract.programs(response, reference.prompt, reference.entry_point)

    def _run(
        self, programs: list[str], reference: CodeReference, calls: Sequence[Call], limits: Limits
    ) -> tuple[Outcome, list[wire.Result | wire.Failure]]:
        work = [
            (marshal.dumps(tuple(given), 2), call.limit_s, call.form)
            for given, call in zip(reference.inputs, calls, strict=True)
        ]
        nonce, listed = secrets.token_hex(8), oracles.is_set_task(reference)
        room = limits.output_bytes
        name = reference.entry_point
        job = (self._spelling, programs, name, LOAD_S, nonce, room, listed, work)
        outcome = self._sandbox.run(
            self._source,
            marshal.dumps(job, 2),
            cpu_s=limits.cpu_s,
            silence_s=max([LOAD_S, *(call.limit_s for call in calls)]) + GRACE_S,
            output_bytes=room + LINE_BYTES * (len(work) + 1),
            memory_bytes=limits.memory_bytes,
        )
        return outcome, list(wire.read(outcome.output, nonce, len(work)))


def _grade(reference: CodeReference, right: int, reason: str) -> Grade:
    """Returns the verdict if exactly the first `right` calls are correct."""
    calls, base = len(reference.inputs), reference.base_count
    also = {"base": right >= base} if calls > base else {}
    return Grade(right == calls, reason, also=also)


def _failure(outcome: Outcome, found: Sequence[wire.Result | wire.Failure], calls: int) -> str:
    """Returns why there are fewer results than calls, or an empty string if there are not."""
    if found and isinstance(found[-1], wire.Failure):
        return found[-1].reason
    if len(found) == calls:
        return ""
    if outcome.end == "exit":
        why = "exits" if 0 <= outcome.status < 128 else "crashes"
    else:
        why = "too much output" if outcome.end == "output" else "timed out"
    return f"{why} on call {len(found) + 1}"
