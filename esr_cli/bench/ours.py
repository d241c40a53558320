"""Our training loop as a configuration of a bench: runs single steps in its own process."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.assembly.workers import assemble
from esr_cli.base import process
from esr_cli.bench.prompts import SizedTask, bench_task
from esr_cli.check import ceilings
from esr_cli.check.floors import Ceilings, Work, floors
from esr_cli.config import TrainConfig
from esr_cli.models import loading
from esr_cli.models.outlines import skeleton
from esr_cli.train.steps import Steps
from esr_cli.types import Rollout


class Ours:
    """The loop of `esr train` on one engine, with engine and teacher placed as in training.

    `config` names an engine; only the workers' logs are saved, into `folder`. With `prompt_tokens`
    all prompts have that many tokens.
    """

    def __init__(
        self, config: TrainConfig, folder: str, prompt_tokens: int | None = None
    ) -> None:  # fmt: skip
        self.config, self._stack = config, ExitStack()
        Path(folder).mkdir(parents=True, exist_ok=True)
        pair = config.pair
        tokenizers = [
            loading.load_tokenizer(each.path, each.revision, each.trust_remote_code)
            for each in (pair.student, pair.teacher)
        ]
        self.task = bench_task(config, tokenizers, prompt_tokens)
        pairing = resolve_pairing(pair, *tokenizers)
        self.parts = assemble(config, Path(folder), pairing, self._stack, print)
        self._steps = Steps(self.parts, self.task, config)
        self._outlines = skeleton(pair.student), skeleton(pair.teacher)
        self._device = loading.pick_device(config.execution.device)
        self._dtype = loading.pick_dtype(pair.dtype, self._device)
        self.ceilings: Ceilings | None = None
        # Blocks until the workers are ready.
        for each in (self.parts.engine, self.parts.teacher):
            each.peak_gib()
        self._tell()

    def measure_ceilings(self) -> None:
        """Measures the ceilings; call it before the first step, while the machine is idle."""
        self.ceilings = ceilings.measure(self._device, self._dtype)

    def step(self, number: int, tokens: int, measure_memory: bool = False) -> dict[str, Any]:
        """Takes one step of at most `tokens` per response; returns seconds by phase, floors, loss.

        With `measure_memory` also returns peak memory, which costs time to reset. `rollouts` can
        be passed to a peer's `loss`.
        """
        workers = {"engine": self.parts.engine, "teacher": self.parts.teacher}
        if measure_memory:
            process.reset_peak()
            for worker in workers.values():
                worker.reset_peak()
        count = self.config.prompts_per_step * self.parts.sampling.samples
        if isinstance(self.task, SizedTask):
            # Made before the clock starts, since no training step makes them.
            self.task.train(number, self.config.prompts_per_step)
        rollouts, update, times = self._steps.take(number, (tokens,) * count)
        self._tell()
        peaks = {}
        if measure_memory:
            peaks = {"trainer": process.peak_gib()}
            peaks |= {name: worker.peak_gib() for name, worker in workers.items()}
        seconds = {name.removeprefix("time/")[:-2]: value for name, value in times.items()}
        return {
            "seconds": seconds, "gib": peaks, "floor": self._floors(rollouts),
            "tokens": sum(len(each.response_ids) for each in rollouts),
            "longest": max(len(each.response_ids) for each in rollouts),
            "loss": update.metrics["train/loss"], "rollouts": rollouts,
        }  # fmt: skip

    def loss(self, rollouts: list[Rollout]) -> float:
        """The loss on completions, where the teacher reads the student's prompt as in a peer.

        Takes an optimizer step with them.
        """
        same_prompts = [
            replace(each, prompt=replace(each.prompt, teacher_ids=each.prompt.student_ids))
            for each in rollouts
        ]
        scores = self.parts.teacher.score(same_prompts)
        return self.parts.student.update(same_prompts, scores, 0).metrics["train/loss"]

    def facts(self) -> dict[str, Any]:
        """The measured ceilings and their device."""
        return {**vars(self.ceilings), "device": self._device}

    def _tell(self) -> None:
        """Prints what the workers have noted, for the log of this process."""
        for line in self.parts.take_notes():
            print(line, flush=True)

    def close(self) -> None:
        """Stops engine and teacher."""
        self._stack.close()

    def _floors(self, rollouts: list[Rollout]) -> dict[str, float]:
        assert self.ceilings is not None, "the ceilings have not been measured"
        work = Work(
            tuple(len(each.prompt.student_ids) for each in rollouts),
            tuple(len(each.prompt.teacher_ids) for each in rollouts),
            tuple(len(each.response_ids) for each in rollouts),
            tuple(len(each.prompt.student_ids) for each in rollouts if each.sample),
            tuple(len(each.prompt.teacher_ids) for each in rollouts if each.sample),
        )
        size = 2 if self._dtype == "bfloat16" else 4
        return floors(*self._outlines, self.config.tune, work, size, self.ceilings)


def on_engine(config: TrainConfig, engine: str) -> TrainConfig:
    """The configuration with another engine."""
    return replace(config, rollout=replace(config.rollout, engine=engine))
