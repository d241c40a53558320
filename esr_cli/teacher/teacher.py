"""The frozen teacher: scores the student's response after the teacher's own prompt."""

from __future__ import annotations

from dataclasses import replace

import torch

from esr_cli.distill.head import Head
from esr_cli.models import batching, loading
from esr_cli.models.reading import SameText, SameTokens
from esr_cli.teacher.scoring import Batch
from esr_cli.types import Rollout, Scores


class Teacher:
    """Scores rollouts: returns hidden states, or logits if the head is not a plain projection.

    `reader` converts the student's tokens to the teacher's. `columns` are the teacher's token ids
    in the order of the student's columns.
    """

    def __init__(
        self, path: str, dtype: str, device: str, micro_batch_tokens: int, revision: str | None,
        reader: SameTokens | SameText, columns: tuple[int, ...], trust_remote_code: bool = False,
        compiled: bool = False,
    ) -> None:  # fmt: skip
        self.device = loading.pick_device(device)
        self.model = loading.load_model(path, dtype, self.device, revision, trust_remote_code)
        self.micro_batch_tokens, self.reader, self.columns = micro_batch_tokens, reader, columns
        self._columns_V = torch.tensor(columns, device=self.device)
        self.splits = loading.head_agrees(self.model, loading.head_of(self.model))
        if compiled:
            loading.compile_layers(self.model)

    def head(self) -> Head | None:
        """The output head for the trainer; None if `score` returns logits."""
        if not self.splits:
            return None
        head = loading.head_of(self.model).picked(self.columns)
        bias_V = None if head.bias_V is None else head.bias_V.detach()
        return replace(head, weight_VD=head.weight_VD.detach(), bias_V=bias_V)

    @torch.no_grad()
    def score(self, rollouts: list[Rollout]) -> Scores:
        """One row per response token, in the order of the rollouts."""
        batch = Batch.of(rollouts, self.reader)
        lengths = list(map(len, batch.sequences))
        groups = batching.micro_batches(lengths, self.micro_batch_tokens, self.device)
        rows_of: list[torch.Tensor] = [torch.empty(0)] * len(rollouts)
        for group in groups:
            states_BLX = self._read(batching.pad([batch.sequences[i] for i in group], self.device))
            for states_LX, i in zip(states_BLX, group, strict=True):
                rows_of[i] = batch.rows(i, states_LX)
        return batch.scores(rows_of, self.splits)

    def _read(self, input_ids_BL: torch.Tensor) -> torch.Tensor:
        if self.splits:
            return loading.hidden_states(self.model, input_ids_BL)
        logits_BLV = self.model(input_ids=input_ids_BL, use_cache=False).logits
        return logits_BLV[..., self._columns_V]
