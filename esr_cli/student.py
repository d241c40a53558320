"""The student in the trainer: collate, forward, backward, clip, step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from esr_cli.config import TuneConfig
from esr_cli.distill.divergence import Divergence, reverse_kl
from esr_cli.distill.head import Head
from esr_cli.models import batching, loading, tuning
from esr_cli.types import HiddenScores, Rollout, Scores


@dataclass(frozen=True)
class Objective:
    """Loss temperature, the sampling temperature of the gauge, shared vocabulary, tile size."""

    temperature: float
    sampling_temperature: float
    vocabulary: int
    tile_tokens: int


@dataclass(frozen=True)
class Update:
    """What one optimizer step measured; `kl_by_rollout` holds a KL a response token."""

    metrics: dict[str, float]
    kl_by_rollout: list[list[float]]
    skipped: bool


class Student:
    """The trained model, its optimizer, and the teacher's head it is compared through."""

    def __init__(
        self, model: Any, teacher_head: Head | None, config: TuneConfig, objective: Objective,
        total_steps: int,
    ) -> None:  # fmt: skip
        self.model, self.teacher_head = model, teacher_head
        self.config, self.objective, self.total_steps = config, objective, total_steps
        self.tuning = tuning.make(model, config)
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
        self.parameters = self.tuning.trainable()
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
        )

    def weights(self) -> dict[str, torch.Tensor]:
        """What the engine needs to sample from the present student; always the same names."""
        return self.tuning.merged()

    def rate(self, step: int) -> float:
        """The learning rate of a step: linear warm-up, then constant or linear to zero."""
        warm = min(1.0, (step + 1) / max(1, self.config.warmup_steps))
        left = 1 - step / self.total_steps if self.config.schedule == "linear" else 1.0
        return self.config.learning_rate * warm * left

    def update(self, rollouts: list[Rollout], scores: Scores, step: int) -> Update:
        """One optimizer step on the token mean over all rollouts; a non-finite one is skipped."""
        self.model.train()
        parts = self._backward(rollouts, scores)
        norm = float(
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip_norm)
        )
        loss = sum(float(part.loss.detach()) for _, part in parts)
        skipped = not (math.isfinite(loss) and math.isfinite(norm))
        if not skipped:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(step)
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        metrics = {
            "train/loss": loss,
            "train/grad_norm": norm,
            "train/lr": self.rate(step),
            "train/skipped": float(skipped),
        }
        by_rollout = _spread(rollouts, parts)
        return Update(metrics | self._measure(rollouts, parts), by_rollout, skipped)

    def _backward(
        self, rollouts: list[Rollout], scores: Scores
    ) -> list[tuple[list[int], Divergence]]:
        sequences = [batching.inputs(r.prompt.student_ids, r.response_ids) for r in rollouts]
        spans = batching.offsets([len(r.response_ids) for r in rollouts])
        total = spans[-1].stop
        budget = self.config.micro_batch_tokens
        parts = []
        for group in batching.micro_batches(list(map(len, sequences)), budget):
            chosen = [rollouts[i] for i in group]
            input_ids_BL = batching.pad([sequences[i] for i in group], self.model.device)
            hidden_RD = batching.response_rows(
                loading.hidden_states(self.model, input_ids_BL),
                [len(r.prompt.student_ids) for r in chosen],
                [len(r.response_ids) for r in chosen],
            )
            part = self._diverge(hidden_RD, chosen, scores, [spans[i] for i in group], total)
            part.loss.backward()
            parts.append((group, part))
        return parts

    def _diverge(
        self, hidden_RD: torch.Tensor, chosen: list[Rollout], scores: Scores,
        spans: list[slice], total: int,
    ) -> Divergence:  # fmt: skip
        whole = scores.hidden_RD if isinstance(scores, HiddenScores) else scores.logits_RV
        rows = torch.cat([whole[span] for span in spans]).to(hidden_RD.device)
        teacher = (rows, self.teacher_head) if isinstance(scores, HiddenScores) else rows
        tokens = [token for r in chosen for token in r.response_ids]
        return reverse_kl(
            hidden_RD,
            loading.head_of(self.model),
            teacher,  # type: ignore[arg-type]
            torch.tensor(tokens, device=hidden_RD.device),
            # One division by the whole step's tokens, whatever the micro-batches.
            torch.full((len(tokens),), 1 / total, device=hidden_RD.device),
            temperature=self.objective.temperature,
            logprob_temperature=self.objective.sampling_temperature or 1.0,
            vocabulary=self.objective.vocabulary,
            tile_tokens=self.objective.tile_tokens,
        )

    def _measure(
        self, rollouts: list[Rollout], parts: list[tuple[list[int], Divergence]]
    ) -> dict[str, float]:
        def mean(name: str) -> float:
            return float(torch.cat([getattr(part, name).float() for _, part in parts]).mean())

        drawn = [lp for group, _ in parts for i in group for lp in rollouts[i].logprobs]
        ours_R = torch.cat([part.student_logprob_R.float().cpu() for _, part in parts])
        gap_R = (ours_R - torch.tensor(drawn)).abs()
        return {
            "train/reverse_kl": mean("kl_R"),
            "student/entropy": mean("student_entropy_R"),
            "teacher/entropy": mean("teacher_entropy_R"),
            "train/top1_agree": mean("top1_agree_R"),
            "rollout/logprob_gap_mean": float(gap_R.mean()),
            "rollout/logprob_gap_max": float(gap_R.max()),
        }

    def save(self, folder: Path, tokenizer: Any) -> None:
        """Writes a model folder that transformers and vLLM load as it is."""
        self.tuning.save(folder)
        tokenizer.save_pretrained(folder)


def _spread(
    rollouts: list[Rollout], parts: list[tuple[list[int], Divergence]]
) -> list[list[float]]:
    by_rollout: list[list[float]] = [[] for _ in rollouts]
    for group, part in parts:
        ends = [0]
        for i in group:
            ends.append(ends[-1] + len(rollouts[i].response_ids))
        values = part.kl_R.tolist()
        for i, (start, end) in zip(group, pairwise(ends), strict=True):
            by_rollout[i] = values[start:end]
    return by_rollout
