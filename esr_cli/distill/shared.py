"""What of two vocabularies is compared, and how a slope finds its way back to the student's rows.

Both kinds turn logits over the temperature (`scaled_RV`) into log-probabilities of the same W
columns, `log_q_RW` of the student and `log_p_RW` of the teacher, with the probability that lies
outside them at each position, and a slope by `log_q_RW`'s softmax input into one by the logits.
Compared is what each model says given that its token lies inside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property

import torch

Compared = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Shared:
    """Token by token: the student's ids below `size`, without those that `unknown_V` marks.

    The teacher's columns stand in the student's order; its rows mean nothing where an id is
    unknown, and what follows `size` are tokens that only it has. `ends` are ids that mean the end
    of a response: their probability is folded into one, and an end that the teacher lacks counts.
    """

    size: int
    unknown_V: torch.Tensor | None = None
    ends: tuple[int, ...] = ()

    def to(self, device: str | torch.device) -> Shared:
        """The same elsewhere."""
        if self.unknown_V is None:
            return self
        return replace(self, unknown_V=self.unknown_V.to(device))

    def student(self, scaled_RV: torch.Tensor) -> Compared:
        """`log_q_RW` and the probability outside; padding rows of the head lie outside."""
        return self._compared(scaled_RV, self._lost, self._lost)

    def teacher(self, scaled_RV: torch.Tensor) -> Compared:
        """`log_p_RW` and the probability outside."""
        return self._compared(scaled_RV, self._unknown, None)

    def _compared(
        self, scaled_RV: torch.Tensor, hidden: torch.Tensor | None, real: torch.Tensor | None
    ) -> Compared:
        """Columns `hidden` are left out; those of them in `real` are probability.

        One copy of the tile and work in place: at 150,000 columns the memory is in the tiles.
        """
        whole = scaled_RV.shape[1] == self.size
        outside_R = scaled_RV[:, self.size :].logsumexp(-1)
        if whole and hidden is None and len(self.ends) < 2:
            return scaled_RV.log_softmax(-1), torch.zeros_like(outside_R)
        if real is not None:
            outside_R = torch.logaddexp(outside_R, scaled_RV[:, real].logsumexp(-1))
        inside_RV = scaled_RV[:, : self.size].clone()
        if hidden is not None:
            inside_RV.index_fill_(1, hidden, -torch.inf)
        if len(self.ends) > 1:
            folded = _index(self.ends, inside_RV.device)
            ends_R1 = inside_RV[:, folded].logsumexp(-1, keepdim=True)
            inside_RV.index_fill_(1, folded, -torch.inf)
            inside_RV[:, folded[:1]] = ends_R1
        total_R1 = inside_RV.logsumexp(-1, keepdim=True)
        # Where nothing lies outside, that is minus infinity, and its share 0.
        return inside_RV.sub_(total_R1), (outside_R - total_R1[:, 0]).sigmoid()

    def spread(self, slope_RW: torch.Tensor, scaled_RV: torch.Tensor) -> torch.Tensor:
        """The slope by `scaled_RV`: a folded end's falls to its members by their shares of it."""
        if scaled_RV.shape[1] == self.size and len(self.ends) < 2:
            return slope_RW
        slope_RV = torch.zeros_like(scaled_RV)
        slope_RV[:, : self.size] = slope_RW
        if len(self.ends) > 1:
            folded = _index(self.ends, slope_RV.device)
            slope_RV[:, folded] = slope_RW[:, folded[:1]] * scaled_RV[:, folded].softmax(-1)
        return slope_RV

    def column(self, token_ids_R: torch.Tensor) -> torch.Tensor:
        """Where each drawn token is found among the columns; -1 for one that lies outside."""
        column_R = token_ids_R.clone()
        for end in self.ends[1:]:
            column_R[token_ids_R == end] = self.ends[0]
        outside_R = token_ids_R >= self.size
        if self._lost_V is not None:
            outside_R = outside_R | self._lost_V[token_ids_R.clamp(max=self.size - 1)]
        return column_R.masked_fill(outside_R, -1)

    def allowed(self, logits_RV: torch.Tensor) -> torch.Tensor:
        """The student's logits as training rollouts draw from them: the teacher reads each token,
        so those that it lacks are barred."""
        if self._lost_V is None and logits_RV.shape[1] == self.size:
            return logits_RV
        allowed_RV = logits_RV.clone()
        allowed_RV[:, self.size :] = -torch.inf
        if self._lost_V is not None:
            allowed_RV[:, : self.size].masked_fill_(self._lost_V, -torch.inf)
        return allowed_RV

    def masked(self, rows: int) -> tuple[int, ...]:
        """The student's ids (of `rows`) that training rollouts may not draw."""
        lost = [] if self._lost_V is None else self._lost_V.nonzero()[:, 0].tolist()
        return (*lost, *range(self.size, rows))

    @cached_property
    def _unknown(self) -> torch.Tensor | None:
        return None if self.unknown_V is None else self.unknown_V.nonzero()[:, 0]

    @cached_property
    def _lost(self) -> torch.Tensor | None:
        return None if self._lost_V is None else self._lost_V.nonzero()[:, 0]

    @cached_property
    def _lost_V(self) -> torch.Tensor | None:
        if self.unknown_V is None:
            return None
        lost_V = self.unknown_V.clone()
        if len(self.ends) > 1:
            lost_V[list(self.ends)] = False
        return lost_V if bool(lost_V.any()) else None


@cache
def _index(ids: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Kept where it is used: to bring a few numbers to a device is to wait for it."""
    return torch.tensor(ids, device=device)


@dataclass(frozen=True)
class Grouped:
    """Class by class, for unlike tokenizers: `student_V` and `teacher_V` give the class of each id.

    There are `size` of them; -1 lies outside, and so do rows past the end (padding). The
    probability of a class is that of its tokens together, so no divergence is higher than one
    between finer classes (data processing inequality). Every class has tokens of both models.
    """

    size: int
    student_V: torch.Tensor
    teacher_V: torch.Tensor

    def to(self, device: str | torch.device) -> Grouped:
        """The same elsewhere."""
        return Grouped(self.size, self.student_V.to(device), self.teacher_V.to(device))

    def student(self, scaled_RV: torch.Tensor) -> Compared:
        """`log_q_RW` and the probability outside."""
        return self._compared(scaled_RV, self.student_V)

    def teacher(self, scaled_RV: torch.Tensor) -> Compared:
        """`log_p_RW` and the probability outside."""
        return self._compared(scaled_RV, self.teacher_V)

    def _compared(self, scaled_RV: torch.Tensor, class_V: torch.Tensor) -> Compared:
        sums_RC = self._sums(scaled_RV.softmax(-1), class_V)
        tiny = torch.finfo(sums_RC.dtype).tiny
        inside_RW = sums_RC[:, : self.size]
        whole_R1 = inside_RW.sum(-1, keepdim=True).clamp(min=tiny)
        return (inside_RW / whole_R1).clamp(min=tiny).log(), sums_RC[:, self.size]

    def spread(self, slope_RW: torch.Tensor, scaled_RV: torch.Tensor) -> torch.Tensor:
        """The slope by `scaled_RV`: a class's falls to its tokens by their shares of it."""
        q_RV, rows = scaled_RV.softmax(-1), scaled_RV.shape[1]
        sums_RC = self._sums(q_RV, self.student_V)
        slope_RC = torch.cat([slope_RW, torch.zeros_like(slope_RW[:, :1])], dim=1)
        among_RC = slope_RC / sums_RC.clamp(min=torch.finfo(sums_RC.dtype).tiny)
        return among_RC[:, self._classes(self.student_V, rows)] * q_RV

    def column(self, token_ids_R: torch.Tensor) -> torch.Tensor:
        """Where each drawn token is found among the columns; -1 for one that lies outside."""
        column_R = self.student_V[token_ids_R.clamp(max=len(self.student_V) - 1)]
        return column_R.masked_fill(token_ids_R >= len(self.student_V), -1)

    def allowed(self, logits_RV: torch.Tensor) -> torch.Tensor:
        """The student's logits as training rollouts draw from them: the teacher reads the text,
        whatever the tokens; only padding rows, which are no tokens, are barred."""
        if logits_RV.shape[1] == len(self.student_V):
            return logits_RV
        allowed_RV = logits_RV.clone()
        allowed_RV[:, len(self.student_V) :] = -torch.inf
        return allowed_RV

    def masked(self, rows: int) -> tuple[int, ...]:
        """The student's ids (of `rows`) that training rollouts may not draw."""
        return tuple(range(len(self.student_V), rows))

    def _sums(self, p_RV: torch.Tensor, class_V: torch.Tensor) -> torch.Tensor:
        """Probabilities of the classes, and last of what lies outside."""
        sums_RC = p_RV.new_zeros(len(p_RV), self.size + 1)
        return sums_RC.index_add(1, self._classes(class_V, p_RV.shape[1]), p_RV)

    def _classes(self, class_V: torch.Tensor, rows: int) -> torch.Tensor:
        full_V = torch.full((rows,), self.size, device=class_V.device)
        known = min(rows, len(class_V))
        full_V[:known] = class_V[:known]
        return full_V.masked_fill(full_V < 0, self.size)
