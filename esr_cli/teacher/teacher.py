"""The frozen teacher: scores the student's response after the teacher's own prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from esr_cli.distill.head import Head
from esr_cli.models import batching, continued, loading, shapes
from esr_cli.models.reading import SameText, SameTokens
from esr_cli.teacher.prompts import Prompts
from esr_cli.teacher.scoring import Batch
from esr_cli.types import Rollout, Scores


class Teacher:
    """Scores rollouts: returns hidden states, or logits if the head is not a plain projection.

    `reader` converts the student's tokens to the teacher's. `columns` are the teacher's token ids
    in the order of the student's columns. A prompt is read once for all responses to it in a call.
    `prompt_cache` is the bound, in bytes, of the keys and values that are kept of prompts between
    calls; None reads every prompt with its response.
    """

    def __init__(
        self, path: str, dtype: str, device: str, micro_batch_tokens: int, revision: str | None,
        reader: SameTokens | SameText, columns: tuple[int, ...], trust_remote_code: bool = False,
        compiled: bool = False, prompt_cache: int | None = None,
    ) -> None:  # fmt: skip
        self.device = loading.pick_device(device)
        self.model = loading.load_model(path, dtype, self.device, revision, trust_remote_code)
        self.micro_batch_tokens, self.reader, self.columns = micro_batch_tokens, reader, columns
        self._columns_V = torch.tensor(columns, device=self.device)
        self.splits = loading.head_agrees(self.model, loading.head_of(self.model))
        self.prompts = None if prompt_cache is None else self._prompts(prompt_cache)
        if compiled:
            loading.compile_layers(self.model)

    def head(self) -> Head | None:
        """The output head for the trainer; None if `score` returns logits."""
        if not self.splits:
            return None
        head = loading.head_of(self.model).picked(self.columns)
        bias_V = None if head.bias_V is None else head.bias_V.detach()
        return replace(head, weight_VD=head.weight_VD.detach(), bias_V=bias_V)

    def _prompts(self, limit: int) -> Prompts | None:
        """What keeps prompts; None if the model's states after kept ones are others."""
        reads = continued.Continued(self.model, self._read)
        shape, size = self.model.config.get_text_config(), self.model.dtype.itemsize
        token_bytes = shapes.cache_bytes(shape, size)
        agrees = reads.agrees()
        return Prompts(reads, limit, token_bytes, self.micro_batch_tokens) if agrees else None

    @torch.no_grad()
    def score(self, rollouts: list[Rollout]) -> Scores:
        """One row per response token, in the order of the rollouts."""
        batch = Batch.of(rollouts, self.reader)
        prompts = [rollout.prompt.teacher_ids for rollout in rollouts]
        apart = self.prompts.repeated(prompts) if self.prompts else set()
        rows_of: list[torch.Tensor] = [torch.empty(0)] * len(rollouts)
        whole = [i for i, ids in enumerate(prompts) if ids not in apart]
        for group in self._groups([len(batch.sequences[i]) for i in whole], whole):
            ids_BL = batching.pad([batch.sequences[i] for i in group], self.device)
            states_BLX = self._read(input_ids=ids_BL, use_cache=False)
            for states_LX, i in zip(states_BLX, group, strict=True):
                rows_of[i] = batch.rows(i, states_LX)
        tokens_read = sum(len(prompts[i]) for i in whole)
        if self.prompts and apart:
            rest, before = [i for i, ids in enumerate(prompts) if ids in apart], self.prompts
            after = [batch.readings[i].ids for i in range(len(rollouts))]
            sizes = [continued.memory_tokens(prompts[i], after[i]) for i in rest]
            for group in self._groups(sizes, rest):
                chosen = [prompts[i] for i in group]
                states_BLX = before.reads.after(
                    chosen, before.kept(chosen), [after[i] for i in group]
                )
                for states_LX, i in zip(states_BLX, group, strict=True):
                    rows_of[i] = batch.rows(i, states_LX, prompt_tokens=1)
            tokens_read += before.take()
        return batch.scores(
            rows_of, self.splits, {"teacher/prompt_tokens_read": float(tokens_read)}
        )

    def _groups(self, sizes: list[int], numbers: list[int]) -> list[list[int]]:
        """Micro-batches of the rollouts of these numbers."""
        enough = batching.enough_tokens(self.model)
        groups = batching.micro_batches(sizes, self.micro_batch_tokens, enough)
        return [[numbers[at] for at in group] for group in groups]

    def _read(self, **inputs: Any) -> torch.Tensor:
        states_BLX = continued.called(self.model, self.splits, **inputs)
        return states_BLX if self.splits else states_BLX[..., self._columns_V]
