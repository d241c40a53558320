"""What probes share: responses, verdicts and reads. Each is computed on first use and cached.

To bound memory, either one engine is alive or the student and teacher that read responses.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch

from esr_cli.assembly import several_teachers, workers
from esr_cli.base.words import counted
from esr_cli.benchmarks.exam import unjudged
from esr_cli.distill.divergence import Options
from esr_cli.execution.several import Engines, WatchedEngines
from esr_cli.graders.figures import Graded, Response, grade_all
from esr_cli.models import loading
from esr_cli.models.spelling import Spelling
from esr_cli.probe.analyses.reads import Read
from esr_cli.probe.plan import Plan
from esr_cli.probe.reading import read
from esr_cli.runs.progress import shown
from esr_cli.types import Grader, Prompt, Rollout, Sampling

T = TypeVar("T")


class Material:
    """The material of `plan`; workers log into `folder`, and `close` stops them."""

    def __init__(
        self, plan: Plan, folder: Path, grader: Grader, say: Callable[[str], None] = print
    ) -> None:
        self.plan, self.folder, self.grader, self.say = plan, folder, grader, say
        self._cache: dict[tuple[str, str], Any] = {}
        self._active, self._worker = "", ExitStack()
        self._handle: Any = None
        device = loading.pick_device(plan.config.execution.device)
        self.device, self.dtype = device, loading.pick_dtype(plan.config.pair.dtype, device)

    def rollouts(self, who: str) -> list[Rollout]:
        """Responses to every question, prompt by prompt, sampled as in an evaluation."""
        return self._cached("rollouts", who, lambda: self._sample(who))

    def graded(self, who: str) -> list[Graded]:
        """The responses with their verdicts, one `Graded` per question."""
        return self._cached("graded", who, lambda: self._grade(who))

    def reads(self, who: str, by: str = "") -> list[Read]:
        """Figures of student and teacher at each token of the responses of `who`.

        The student is `by`; by default, the one that wrote the responses.
        """
        reader = by or who
        return self._cached(f"reads by {reader}", who, lambda: self._read(who, reader))

    def engine(self, who: str) -> Engines:
        """The engine with the weights of `who`; stops the previous engine or readers."""
        if self._active != who:
            self.close()
            config, plan = self.plan.config, self.plan
            masked: tuple[int, ...] = ()
            if plan.exams[who].sampling.shared_only:
                masked = workers.masked_ids(plan.models[who], plan.pairing)
            engines = workers.place_engines(
                config.rollout, config.execution, plan.models[who], self.dtype,
                config.pair.context_tokens, self.folder, self.say, masked,
            )  # fmt: skip
            self._start(who, engines)
        return self._handle

    def ask(self, who: str, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """Responses of `who` to any prompts; shows how far it is."""
        engine = self.engine(who)
        with shown(LABELS[who]) as report:
            rollouts = WatchedEngines(engine, report).generate(prompts, sampling)
        for line in engine.take_notes():
            self.say(line)
        return rollouts

    def grade(self, texts: dict[str, list[Response]]) -> list[Graded]:
        """Verdicts on responses, which are given by question id."""
        questions = self.plan.benchmark.questions
        graded = grade_all(self.grader, [(q.id, q.reference, texts[q.id]) for q in questions])
        if warning := unjudged(self.plan.benchmark.name, graded):
            self.say(warning)
        return graded

    def close(self) -> None:
        """Stops the engine or the readers that are alive."""
        self._worker.close()
        self._active, self._handle, self._worker = "", None, ExitStack()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _cached(self, what: str, who: str, make: Callable[[], T]) -> T:
        if (what, who) not in self._cache:
            self._cache[what, who] = make()
        return self._cache[what, who]

    def _start(self, name: str, handle: Any) -> None:
        self._worker.callback(handle.close)
        handle.start()
        self._active, self._handle = name, handle

    def _sample(self, who: str) -> list[Rollout]:
        exam, began = self.plan.exams[who], time.perf_counter()
        rollouts = self.ask(who, exam.prompts, exam.sampling.at(self.plan.steps[who]))
        count, seconds = counted(len(rollouts), "response"), time.perf_counter() - began
        self.say(f"{count} of {LABELS[who]}: {seconds:.1f} s")
        return rollouts

    def _grade(self, who: str) -> list[Graded]:
        texts: dict[str, list[Response]] = {q.id: [] for q in self.plan.benchmark.questions}
        for rollout in self.rollouts(who):
            texts[rollout.prompt.id].append(self.plan.exams[who].response_of(rollout))
        return self.grade(texts)

    def _read(self, who: str, by: str) -> list[Read]:
        rollouts, began = self.rollouts(who), time.perf_counter()
        plan = self.plan
        if self._active != "readers":
            self.close()
            placed = several_teachers.place(
                plan.config, self.dtype, plan.pairing, self.folder, self.say
            )
            self._start("readers", placed)
        student = plan.models[by]
        model = loading.load_model(
            student.path, self.dtype, self.device, student.revision, student.trust_remote_code
        )
        options = Options(
            temperature=plan.config.loss.temperature,
            shared=plan.pairing.shared.to(self.device),
            tile_tokens=plan.config.loss.tile_tokens,
        )
        reads = read(
            model, self._handle, rollouts, Spelling(plan.tokenizer_of(who)), options,
            plan.config.tune.micro_batch_tokens,
        )  # fmt: skip
        readers = "both models" if by == who else f"{LABELS[by]} and the teacher"
        self.say(f"{readers} read the tokens of {LABELS[who]}: {time.perf_counter() - began:.1f} s")
        return reads


LABELS = {
    "before": "the student before training", "after": "the student after training",
    "teacher": "the teacher",
}  # fmt: skip


def prefixed(prompt: Prompt, ids: tuple[int, ...], name: str) -> Prompt:
    """The prompt followed by a response prefix; `name` determines its random seed."""
    both = prompt.student_ids + ids
    return Prompt(name, prompt.text, both, both)
