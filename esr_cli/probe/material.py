"""What probes share: responses, verdicts and readings, each made when first asked for, and once.

One engine, or the two models that read, is alive at a time, so that memory holds for either.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch

from esr_cli.assembly import workers
from esr_cli.benchmarks.exam import response_of
from esr_cli.distill.divergence import Options
from esr_cli.execution.remote import RemoteEngine, RemoteTeacher
from esr_cli.graders.figures import Graded, Response, grade_all
from esr_cli.models import loading
from esr_cli.models.spelling import Spelling
from esr_cli.probe.analyses.reads import Read
from esr_cli.probe.plan import Plan
from esr_cli.probe.reading import read
from esr_cli.types import Grader, Prompt, Rollout

Made = TypeVar("Made")


class Material:
    """Of `plan`, into `folder` what workers print; `close` ends what lives."""

    def __init__(
        self, plan: Plan, folder: Path, grader: Grader, say: Callable[[str], None] = print
    ) -> None:
        self.plan, self.folder, self.grader, self.say = plan, folder, grader, say
        self._made: dict[tuple[str, str], Any] = {}
        self._live, self._worker = "", ExitStack()
        self._handle: Any = None
        device = loading.pick_device(plan.config.execution.device)
        self.device, self.dtype = device, loading.pick_dtype(plan.config.pair.dtype, device)

    def rollouts(self, who: str) -> list[Rollout]:
        """Responses to every question, prompt by prompt, as an evaluation draws them."""
        return self._once("rollouts", who, lambda: self._sample(who))

    def graded(self, who: str) -> list[Graded]:
        """The same with their verdicts, a question each."""
        return self._once("graded", who, lambda: self._grade(who))

    def reads(self, who: str, by: str = "") -> list[Read]:
        """What student and teacher say at each token of the responses of `who`; the student is
        `by`, or else the one that wrote them.
        """
        reader = by or who
        return self._once(f"reads by {reader}", who, lambda: self._read(who, reader))

    def engine(self, who: str) -> RemoteEngine:
        """The engine that holds the weights of whoever answers."""
        if self._live != who:
            self.close()
            config, plan = self.plan.config, self.plan
            barred: tuple[int, ...] = ()
            if plan.exams[who].sampling.shared_only:
                barred = workers.masked_ids(plan.models[who], plan.pairing)
            worker = workers.place_engine(
                config.rollout, config.execution, plan.models[who], self.dtype,
                config.pair.context_tokens, self.folder, self.say, barred,
            )  # fmt: skip
            self._keep(who, worker, RemoteEngine(worker))
        return self._handle

    def grade(self, texts: dict[str, list[Response]]) -> list[Graded]:
        """Verdicts on responses by the id of their question."""
        questions = self.plan.benchmark.questions
        return grade_all(self.grader, [(q.id, q.reference, texts[q.id]) for q in questions])

    def close(self) -> None:
        """Ends the engine or the readers that live."""
        self._worker.close()
        self._live, self._handle, self._worker = "", None, ExitStack()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _once(self, what: str, who: str, make: Callable[[], Made]) -> Made:
        if (what, who) not in self._made:
            self._made[what, who] = make()
        return self._made[what, who]

    def _keep(self, name: str, worker: Any, handle: Any) -> None:
        self._worker.callback(worker.close)
        worker.start()
        self._live, self._handle = name, handle

    def _sample(self, who: str) -> list[Rollout]:
        exam, began = self.plan.exams[who], time.perf_counter()
        engine, sampling = self.engine(who), exam.sampling.at(self.plan.steps[who])
        found = engine.generate(exam.prompts, sampling)
        self.say(f"{len(found)} responses of {SAID[who]}: {time.perf_counter() - began:.1f} s")
        return found

    def _grade(self, who: str) -> list[Graded]:
        texts: dict[str, list[Response]] = {q.id: [] for q in self.plan.benchmark.questions}
        for rollout in self.rollouts(who):
            response = response_of(rollout, self.plan.tokenizer_of(who))
            texts[rollout.prompt.id].append(response)
        return self.grade(texts)

    def _read(self, who: str, by: str) -> list[Read]:
        rollouts, began = self.rollouts(who), time.perf_counter()
        plan = self.plan
        if self._live != "readers":
            self.close()
            worker = workers.place_teacher(
                plan.config, self.dtype, plan.pairing, self.folder, self.say
            )
            self._keep("readers", worker, RemoteTeacher(worker))
        chosen = plan.models[by]
        model = loading.load_model(
            chosen.path, self.dtype, self.device, chosen.revision, chosen.trust_remote_code
        )
        options = Options(
            temperature=plan.config.loss.temperature,
            shared=plan.pairing.shared.to(self.device),
            tile_tokens=plan.config.loss.tile_tokens,
        )
        found = read(
            model, self._handle, rollouts, Spelling(plan.tokenizer_of(who)), options,
            plan.config.tune.micro_batch_tokens,
        )  # fmt: skip
        readers = "both models" if by == who else f"{SAID[by]} and the teacher"
        self.say(f"{readers} read those of {SAID[who]}: {time.perf_counter() - began:.1f} s")
        return found


SAID = {
    "before": "the student before training", "after": "the student after training",
    "teacher": "the teacher",
}  # fmt: skip


def prefixed(prompt: Prompt, ids: tuple[int, ...], name: str) -> Prompt:
    """The prompt with a response begun, under a name of its own for its random stream."""
    both = prompt.student_ids + ids
    return Prompt(name, prompt.text, both, both)
