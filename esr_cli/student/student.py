"""The student in training: collate, forward, backward, clip, optimizer step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from esr_cli.base.failures import Failure
from esr_cli.config import TuneConfig
from esr_cli.distill import positions
from esr_cli.distill.divergence import Options, Side, divergence, figures
from esr_cli.models import batching, grouped, loading
from esr_cli.student import checkpoint, measures, tuning
from esr_cli.student.checkpoint import Tensors, all_finite
from esr_cli.student.measures import MicroBatch
from esr_cli.student.ranks import Alone, local, whole
from esr_cli.student.reader import Reader
from esr_cli.student.shards import Sent, Stored
from esr_cli.student.sides import Heads, TeacherSides
from esr_cli.types import Rollout, Sampling, StepScores


@dataclass(frozen=True)
class Objective:
    """The divergence, the positions, and the reduction; `seed` is for what is random in a step."""

    options: Options
    rule: positions.Rule = field(default_factory=positions.Rule)
    reduction: str = "token_mean"
    seed: int = 0

    def seed_of(self, rollout: Rollout, step: int) -> int:
        """The seed of a response's random positions at a step."""
        sampling = Sampling(1, seed=self.seed, purpose="positions", step=step)
        return sampling.seed_of(rollout.prompt.id, rollout.sample)

    def dropout_key(self, step: int, micro_batch: int) -> str:
        """The key of a micro-batch's dropout masks: the same in a resumed run."""
        return f"{self.seed}/dropout/{step}/{micro_batch}"


@dataclass(frozen=True)
class Update:
    """The result of one optimizer step; `kl_by_rollout` holds one KL per response token.

    The KL is NaN for tokens not aligned with the teacher's. `skipped` is the reason if the step was
    skipped, else empty. `gaps` are the mean and largest log-probability gap by engine.
    """

    metrics: dict[str, float]
    kl_by_rollout: list[list[float]]
    skipped: str
    gaps: dict[int, tuple[float, float]]

    @property
    def suspect(self) -> bool:
        """Whether a value was not finite, so that the weights should not be saved."""
        return self.skipped not in ("", measures.NOTHING_COUNTS)


class WeightsError(Failure):
    """The student's weights are not finite."""


class Student:
    """The trained model, its optimizer, and the output heads of its teachers by name.

    Several `ranks` hold a shard of it each and share the micro-batches; all of them call the same
    methods, whose results are those of one process up to rounding.
    """

    def __init__(
        self, model: Any, teacher_heads: Heads, config: TuneConfig, objective: Objective,
        total_steps: int, sends_adapter: bool = False, ranks: Alone | None = None,
    ) -> None:  # fmt: skip
        self.sends_adapter, self.ranks = sends_adapter, ranks or Alone()
        self.model, self.teacher_heads, self.dtype = model, teacher_heads, model.dtype
        self.config, self.objective, self.total_steps = config, objective, total_steps
        loading.without_dropout(model)
        self.reader = Reader(model, config.prompt_gradient)
        self.splits = self.reader.splits
        self.tuning = tuning.make(model, config, self.ranks)
        self.reader.states = self.ranks.states_of(model)
        if config.gradient_checkpointing:
            # Masks depend on seeds alone, so recomputation does not need the random state.
            model.gradient_checkpointing_enable(
                {"use_reentrant": False, "preserve_rng_state": False}
            )
            model.enable_input_require_grads()
        if config.compile:
            loading.compile_layers(model)
        self.parameters = self.tuning.trainable()
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )

    def weights(self) -> dict[str, torch.Tensor]:
        """The present weights for the engine, always under the same names.

        Of a LoRA student, these are the factors of the adapter if it `sends_adapter`.
        """
        return self.tuning.factors() if self.sends_adapter else self.tuning.merged()

    def rate(self, step: int) -> float:
        """The learning rate of a step, see `TuneConfig.rate`."""
        return self.config.rate(step, self.total_steps)

    def update(self, rollouts: list[Rollout], scores: StepScores, step: int) -> Update:
        """One optimizer step over all rollouts; skipped if the loss or gradient is not finite.

        Raises `WeightsError` if the step destroyed the weights.
        """
        self.model.train()
        parts = self.ranks.gather(self._backward(rollouts, scores, step))
        # One division by the denominator of the whole step, independent of micro-batches.
        denominator = sum(part.denominator for part in parts)
        loss = sum(part.loss for part in parts) / denominator if denominator else math.nan
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        if denominator and gradients:
            torch._foreach_div_(gradients, denominator)
        norm = float(
            whole(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip_norm))
        )
        finite = math.isfinite(loss) and math.isfinite(norm)
        skipped = (
            "" if finite else measures.fault(parts) if denominator else measures.NOTHING_COUNTS
        )
        if not skipped:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(step)
            self.optimizer.step()
            self.check_weights(f"after step {step + 1}")
            self.tuning.publish()
        self.optimizer.zero_grad(set_to_none=True)
        metrics = {
            "train/loss": loss,
            "train/grad_norm": norm,
            "train/lr": self.rate(step),
            "train/skipped": float(bool(skipped)),
            **scores.metrics,
        }
        by_rollout = measures.kl_by_rollout(rollouts, parts)
        return Update(
            metrics | measures.metrics(rollouts, parts) | measures.by_teacher(rollouts, parts),
            by_rollout, skipped, measures.gaps(rollouts, parts),
        )  # fmt: skip

    def _backward(self, rollouts: list[Rollout], scores: StepScores, step: int) -> list[MicroBatch]:
        sides, ranks = TeacherSides(self.teacher_heads, scores, rollouts), self.ranks
        parts, most = [], math.ceil(len(rollouts) / ranks.size)
        rows = self.reader.rows(rollouts, self.config.micro_batch_tokens, most)
        lengths = [
            grouped.length(
                len(rollouts[row[0]].prompt.trained_ids),
                [len(rollouts[i].response_ids) for i in row],
            )
            for row in rows
        ]
        budget = ranks.budget(lengths, self.config.micro_batch_tokens)
        groups = sides.groups(rows, lengths, budget, batching.enough_tokens(self.model))
        # Ranks must agree on a further forward pass.
        prompted = any(r.prompt.before_ids for r in rollouts)
        for number, group_rows, counts in ranks.share(groups):
            self.tuning.mask(self.objective.dropout_key(step, number))
            group = [i for row in group_rows for i in row]
            chosen = [rollouts[i] for i in group]
            read = [[rollouts[i] for i in row] for row in group_rows]
            states_RX = self.reader.read(read, lambda prompt: prompt.trained_ids)
            student = self._side(states_RX)
            tokens_R = torch.tensor(
                [token for r in chosen for token in r.response_ids],
                dtype=torch.long,
                device=states_RX.device,
            )
            teacher, usable_R = sides.of(group, states_RX.device)
            if self.objective.options.kind == "policy_gradient" and self.objective.options.shared:
                # The policy gradient needs the sampled token itself.
                usable_R = usable_R & (self.objective.options.shared.column(tokens_R) >= 0)
            weight_R, denominator = self._position_weights(
                chosen, student, teacher, tokens_R, usable_R, step
            )  # fmt: skip
            if not counts:
                weight_R = torch.zeros_like(weight_R)
            loss, found = divergence(student, teacher, tokens_R, weight_R, self.objective.options)
            if prompted:
                # Before the backward pass: after it, a shard of the weights would stay gathered.
                found = replace(found, logprob_R=self._sampled_logprobs(read, teacher, tokens_R))
            loss.backward()
            self.tuning.collect()
            if not counts:
                continue
            parts.append(
                MicroBatch(group, float(loss.detach()), denominator, weight_R > 0, usable_R, found)
            )
        return parts

    def _side(self, states_RX: torch.Tensor) -> Side:
        return (states_RX, loading.head_of(self.model)) if self.splits else states_RX

    @torch.no_grad()
    def _sampled_logprobs(
        self, rows: list[list[Rollout]], teacher: Side, tokens_R: torch.Tensor
    ) -> torch.Tensor:
        """`logprob_R` in the context in which the responses were sampled."""
        student = self._side(self.reader.read(rows, lambda prompt: prompt.student_ids))
        return figures(student, teacher, tokens_R, self.objective.options).logprob_R

    def _position_weights(
        self, chosen: list[Rollout], student: Side, teacher: Side, tokens_R: torch.Tensor,
        usable_R: torch.Tensor, step: int,
    ) -> tuple[torch.Tensor, float]:  # fmt: skip
        rule, values = self.objective.rule, dict[str, torch.Tensor]()
        if rule.needs_figures:
            options = replace(self.objective.options, forward_kl=rule.needs_forward_kl)
            found = figures(_detached(student), teacher, tokens_R, options)
            values = vars(found)
        weights = []
        for rollout, span in zip(
            chosen, batching.offsets([len(r.response_ids) for r in chosen]), strict=True
        ):
            sliced = {name: value_R[span] for name, value_R in values.items()}
            seed = self.objective.seed_of(rollout, step)
            weights.append(positions.weights(rule, usable_R[span], sliced, seed))
        weights, denominator = positions.reduced(weights, self.objective.reduction)
        return torch.cat(weights), denominator

    def check_weights(self, when: str) -> None:
        """Raises `WeightsError` if a trained weight is not finite."""
        if not self.ranks.all(all_finite([local(each) for each in self.parameters.values()])):
            raise WeightsError(f"the student's weights are not finite {when}")

    def tensors(self) -> Tensors:
        """Trained weights, optimizer state and random states, as a checkpoint holds them."""
        tensors = {f"weight/{name}": p.detach() for name, p in self.parameters.items()}
        tensors |= checkpoint.pack_optimizer(self.optimizer, list(self.parameters))
        return tensors | checkpoint.random_state()

    def writer(self) -> checkpoint.Writer:
        """What writes the tensors of a checkpoint."""
        return checkpoint.whole(self.tensors())

    def restore(self, folder: Path) -> None:
        """Restores a checkpoint; raises `CheckpointError` if it cannot be read or does not fit."""
        self.take(folder, Stored(folder))

    @torch.no_grad()
    def take(self, folder: Path, saved: Stored | Sent) -> None:
        """Restores what `tensors` returned, `saved` as the checkpoint `folder`.

        Raises `CheckpointError` if it is of another model.
        """
        tensors = checkpoint.room_for(folder, saved.outline, self.parameters)
        saved.fill(tensors)
        self.tuning.publish()
        checkpoint.unpack_optimizer(self.optimizer, list(self.parameters), tensors)
        checkpoint.restore_random_state(tensors)

    def save(self, folder: Path, tokenizer: Any, weights: bool = True) -> None:
        """Writes a model folder that transformers and vLLM can load; `weights` may be left out."""
        if weights:
            self.tuning.save(folder)
        else:
            self.model.save_pretrained(folder, state_dict={})
        tokenizer.save_pretrained(folder)

    def save_adapter(self, folder: Path) -> None:
        """Writes a LoRA student's adapter in peft's format."""
        self.tuning.save_adapter(folder)


def _detached(side: Side) -> Side:
    return (side[0].detach(), side[1]) if isinstance(side, tuple) else side.detach()
