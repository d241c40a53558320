"""What of two vocabularies is compared, and how a slope finds its way back to the student's rows.

The teacher's columns stand in the student's order: the first `size` are the student's ids, what
follows are tokens that only the teacher has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch


@dataclass(frozen=True)
class Shared:
    """The student's ids below `size`, without those that `unknown_V` marks: the teacher lacks them.

    `ends` are ids that mean the end of a response; their probability is folded into one. What lies
    outside the shared set is renormalised away, or with `fold` counted as one more token, so that
    a model whose next token the other cannot name is not read as undecided. Folding tokens
    together never raises a divergence (data processing inequality).
    """

    size: int
    unknown_V: torch.Tensor | None = None
    ends: tuple[int, ...] = ()
    fold: bool = False

    def to(self, device: str | torch.device) -> Shared:
        """The same elsewhere."""
        if self.unknown_V is None:
            return self
        return replace(self, unknown_V=self.unknown_V.to(device))

    def student(self, scaled_RV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities `log_q_RW` of what is compared, and the probability outside.

        `scaled_RV` are the student's logits over the temperature, padding rows included.
        """
        outside_R1 = scaled_RV[:, self.size :].logsumexp(-1, keepdim=True)
        inside_RV = scaled_RV[:, : self.size]
        if self._lost_V is not None:
            lost_RV = inside_RV.masked_fill(~self._lost_V, -torch.inf)
            outside_R1 = torch.logaddexp(outside_R1, lost_RV.logsumexp(-1, keepdim=True))
            inside_RV = inside_RV.masked_fill(self._lost_V, -torch.inf)
        return self._compared(inside_RV, outside_R1, self._partial(scaled_RV))

    def teacher(self, scaled_RV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of the teacher, whose rows mean nothing where the student's id is unknown."""
        outside_R1 = scaled_RV[:, self.size :].logsumexp(-1, keepdim=True)
        inside_RV = scaled_RV[:, : self.size]
        if self.unknown_V is not None:
            inside_RV = inside_RV.masked_fill(self.unknown_V, -torch.inf)
        return self._compared(inside_RV, outside_R1, scaled_RV.shape[1] > self.size)

    def _compared(
        self, inside_RV: torch.Tensor, outside_R1: torch.Tensor, partial: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if len(self.ends) > 1:
            ends_R1 = inside_RV[:, list(self.ends)].logsumexp(-1, keepdim=True)
            inside_RV = inside_RV.index_fill(1, self._ends(inside_RV), -torch.inf)
            inside_RV[:, list(self.ends[:1])] = ends_R1
        if self.fold:
            log_RW = torch.cat([inside_RV, outside_R1], dim=1).log_softmax(-1)
            return log_RW, log_RW[:, -1].exp()
        if not partial:
            return inside_RV.log_softmax(-1), torch.zeros_like(inside_RV[:, 0])
        share_R = (outside_R1[:, 0] - inside_RV.logsumexp(-1)).sigmoid()
        return inside_RV.log_softmax(-1), share_R

    def spread(self, slope_RW: torch.Tensor, scaled_RV: torch.Tensor) -> torch.Tensor:
        """The slope by the student's own `scaled_RV`, from that by what was compared.

        A folded token's slope falls to its members by their shares of it.
        """
        slope_RV = torch.zeros_like(scaled_RV)
        slope_RV[:, : self.size] = slope_RW[:, : self.size]
        if len(self.ends) > 1:
            among_RE = scaled_RV[:, list(self.ends)].softmax(-1)
            slope_RV[:, list(self.ends)] = slope_RW[:, list(self.ends[:1])] * among_RE
        if self.fold and self._partial(scaled_RV):
            among_RV = scaled_RV.masked_fill(~self._outside(scaled_RV), -torch.inf).softmax(-1)
            slope_RV += slope_RW[:, -1:] * among_RV
        return slope_RV

    def column(self, token_ids_R: torch.Tensor) -> torch.Tensor:
        """Where each drawn token is found among what is compared; -1 for one that is nowhere."""
        column_R = token_ids_R.clone()
        for end in self.ends[1:]:
            column_R[token_ids_R == end] = self.ends[0]
        outside_R = token_ids_R >= self.size
        if self._lost_V is not None:
            outside_R = outside_R | self._lost_V[token_ids_R.clamp(max=self.size - 1)]
        return column_R.masked_fill(outside_R, self.size if self.fold else -1)

    def allowed(self, logits_RV: torch.Tensor) -> torch.Tensor:
        """Logits of what training rollouts may draw: without `fold` shared tokens only."""
        if self.fold or not self._partial(logits_RV):
            return logits_RV
        return logits_RV.masked_fill(self._outside(logits_RV), -torch.inf)

    def barred(self, rows: int) -> tuple[int, ...]:
        """The student's ids (of `rows`) that training rollouts may not draw, see `allowed`."""
        if self.fold:
            return ()
        lost = [] if self._lost_V is None else self._lost_V.nonzero()[:, 0].tolist()
        return (*lost, *range(self.size, rows))

    @cached_property
    def _lost_V(self) -> torch.Tensor | None:
        # An end of the student's own counts as an end though the teacher has another for it.
        if self.unknown_V is None:
            return None
        lost_V = self.unknown_V.clone()
        if len(self.ends) > 1:
            lost_V[list(self.ends)] = False
        return lost_V

    def _partial(self, logits_RV: torch.Tensor) -> bool:
        return self._lost_V is not None or logits_RV.shape[1] > self.size

    def _outside(self, logits_RV: torch.Tensor) -> torch.Tensor:
        outside_V = torch.ones(logits_RV.shape[1], dtype=torch.bool, device=logits_RV.device)
        outside_V[: self.size] = False if self._lost_V is None else self._lost_V
        return outside_V

    def _ends(self, like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(self.ends, device=like.device)
