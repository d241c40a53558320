"""The frozen teacher: reads its own prompt and the student's response, and gives its states."""

from __future__ import annotations

from dataclasses import replace

import torch

from esr_cli.distill.head import Head
from esr_cli.models import batching, loading
from esr_cli.types import HiddenScores, LogitScores, Rollout, Scores


class Teacher:
    """Scores rollouts; ships hidden states, or exact logits where the head cannot be split off."""

    def __init__(
        self, path: str, dtype: str, device: str, micro_batch_tokens: int, revision: str | None,
        trust_remote_code: bool = False,
    ) -> None:  # fmt: skip
        self.device = loading.pick_device(device)
        self.model = loading.load_model(path, dtype, self.device, revision, trust_remote_code)
        self.micro_batch_tokens = micro_batch_tokens
        self.splits = loading.head_agrees(self.model, loading.head_of(self.model))

    def head(self) -> Head | None:
        """The output head for the trainer to hold; none where exact logits are shipped."""
        if not self.splits:
            return None
        head = loading.head_of(self.model)
        bias_V = None if head.bias_V is None else head.bias_V.detach()
        return replace(head, weight_VD=head.weight_VD.detach(), bias_V=bias_V)

    @torch.no_grad()
    def score(self, rollouts: list[Rollout]) -> Scores:
        """One row a response token, in the order of the rollouts."""
        sequences = [batching.inputs(r.prompt.teacher_ids, r.response_ids) for r in rollouts]
        groups = batching.micro_batches(list(map(len, sequences)), self.micro_batch_tokens)
        rows: list[torch.Tensor] = [torch.empty(0)] * len(rollouts)
        for group in groups:
            states = self._read(batching.pad([sequences[i] for i in group], self.device))
            for row, i in zip(states, group, strict=True):
                start = len(rollouts[i].prompt.teacher_ids) - 1
                rows[i] = row[start : start + len(rollouts[i].response_ids)].clone()
        laid_out = torch.cat(rows)
        return HiddenScores(laid_out) if self.splits else LogitScores(laid_out)

    def _read(self, input_ids_BL: torch.Tensor) -> torch.Tensor:
        if self.splits:
            return loading.hidden_states(self.model, input_ids_BL)
        return self.model(input_ids=input_ids_BL, use_cache=False).logits
