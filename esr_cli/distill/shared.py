"""The shared columns of two vocabularies, and the map of slopes back to the student's rows.

Both classes map logits divided by the temperature (`scaled_RV`) to log-probabilities of the same W
columns (`log_q_RW` of the student, `log_p_RW` of the teacher) and to the probability outside them.
`spread` maps a slope with respect to the softmax input of `log_q_RW` back to one with respect to
the logits. The compared distributions are conditional: given that the token is inside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property

import torch

Compared = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Shared:
    """Token by token: the student's ids below `size`, except those that `unknown_V` marks.

    The teacher's columns are in the student's order. Its values at unknown ids are undefined, and
    its columns from `size` on are tokens that only the teacher has. `ends` are the ids that end a
    response: their probabilities are merged into one, and an end that the teacher lacks is counted
    too.
    """

    size: int
    unknown_V: torch.Tensor | None = None
    ends: tuple[int, ...] = ()

    def to(self, device: str | torch.device) -> Shared:
        """This object on another device."""
        if self.unknown_V is None:
            return self
        return replace(self, unknown_V=self.unknown_V.to(device))

    def student(self, scaled_RV: torch.Tensor) -> Compared:
        """`log_q_RW` and the probability outside; padding rows of the head are outside."""
        return self._compared(scaled_RV, self._missing, self._missing)

    def teacher(self, scaled_RV: torch.Tensor) -> Compared:
        """`log_p_RW` and the probability outside."""
        return self._compared(scaled_RV, self._unknown, None)

    def _compared(
        self, scaled_RV: torch.Tensor, excluded: torch.Tensor | None, counted: torch.Tensor | None
    ) -> Compared:
        """Masks out columns `excluded`; columns `counted` add to the probability outside.

        Works in place on one copy of the tile: at 150,000 columns the tiles dominate the memory.
        """
        same_size = scaled_RV.shape[1] == self.size
        outside_R = scaled_RV[:, self.size :].logsumexp(-1)
        if same_size and excluded is None and len(self.ends) < 2:
            return scaled_RV.log_softmax(-1), torch.zeros_like(outside_R)
        if counted is not None:
            outside_R = torch.logaddexp(outside_R, scaled_RV[:, counted].logsumexp(-1))
        inside_RV = scaled_RV[:, : self.size].clone()
        if excluded is not None:
            inside_RV.index_fill_(1, excluded, -torch.inf)
        if len(self.ends) > 1:
            merged = _index(self.ends, inside_RV.device)
            ends_R1 = inside_RV[:, merged].logsumexp(-1, keepdim=True)
            inside_RV.index_fill_(1, merged, -torch.inf)
            inside_RV[:, merged[:1]] = ends_R1
        total_R1 = inside_RV.logsumexp(-1, keepdim=True)
        # If nothing is outside, `outside_R` is -inf and the share 0.
        return inside_RV.sub_(total_R1), (outside_R - total_R1[:, 0]).sigmoid()

    def spread(self, slope_RW: torch.Tensor, scaled_RV: torch.Tensor) -> torch.Tensor:
        """The slope by `scaled_RV`; that of the merged end is distributed over the end ids."""
        if scaled_RV.shape[1] == self.size and len(self.ends) < 2:
            return slope_RW
        slope_RV = torch.zeros_like(scaled_RV)
        slope_RV[:, : self.size] = slope_RW
        if len(self.ends) > 1:
            merged = _index(self.ends, slope_RV.device)
            slope_RV[:, merged] = slope_RW[:, merged[:1]] * scaled_RV[:, merged].softmax(-1)
        return slope_RV

    def column(self, token_ids_R: torch.Tensor) -> torch.Tensor:
        """The column of each sampled token; -1 for a token outside."""
        column_R = token_ids_R.clone()
        for end in self.ends[1:]:
            column_R[token_ids_R == end] = self.ends[0]
        outside_R = token_ids_R >= self.size
        if self._missing_V is not None:
            outside_R = outside_R | self._missing_V[token_ids_R.clamp(max=self.size - 1)]
        return column_R.masked_fill(outside_R, -1)

    def allowed(self, logits_RV: torch.Tensor) -> torch.Tensor:
        """The student's logits as training rollouts sample from them.

        The teacher reads token by token, so tokens that it lacks are masked out.
        """
        if self._missing_V is None and logits_RV.shape[1] == self.size:
            return logits_RV
        allowed_RV = logits_RV.clone()
        allowed_RV[:, self.size :] = -torch.inf
        if self._missing_V is not None:
            allowed_RV[:, : self.size].masked_fill_(self._missing_V, -torch.inf)
        return allowed_RV

    def masked(self, rows: int) -> tuple[int, ...]:
        """The student's ids (of `rows`) that are masked out in training rollouts."""
        missing = [] if self._missing_V is None else self._missing_V.nonzero()[:, 0].tolist()
        return (*missing, *range(self.size, rows))

    @cached_property
    def _unknown(self) -> torch.Tensor | None:
        return None if self.unknown_V is None else self.unknown_V.nonzero()[:, 0]

    @cached_property
    def _missing(self) -> torch.Tensor | None:
        return None if self._missing_V is None else self._missing_V.nonzero()[:, 0]

    @cached_property
    def _missing_V(self) -> torch.Tensor | None:
        if self.unknown_V is None:
            return None
        lost_V = self.unknown_V.clone()
        if len(self.ends) > 1:
            lost_V[list(self.ends)] = False
        return lost_V if bool(lost_V.any()) else None


@cache
def _index(ids: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Cached on its device: copying even a few numbers to a GPU synchronizes."""
    return torch.tensor(ids, device=device)


@dataclass(frozen=True)
class Grouped:
    """Class by class, for different tokenizers: the class of each student and teacher id.

    There are `size` classes. Ids of class -1 and rows past the end (padding) are outside. The
    probability of a class is the sum over its tokens, so a divergence is at most that between
    finer classes (data processing inequality). Every class has tokens of both models.
    """

    size: int
    student_V: torch.Tensor
    teacher_V: torch.Tensor

    def to(self, device: str | torch.device) -> Grouped:
        """This object on another device."""
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
        inside_R1 = inside_RW.sum(-1, keepdim=True).clamp(min=tiny)
        return (inside_RW / inside_R1).clamp(min=tiny).log(), sums_RC[:, self.size]

    def spread(self, slope_RW: torch.Tensor, scaled_RV: torch.Tensor) -> torch.Tensor:
        """The slope by `scaled_RV`; that of a class is distributed over its tokens."""
        q_RV, rows = scaled_RV.softmax(-1), scaled_RV.shape[1]
        sums_RC = self._sums(q_RV, self.student_V)
        slope_RC = torch.cat([slope_RW, torch.zeros_like(slope_RW[:, :1])], dim=1)
        ratio_RC = slope_RC / sums_RC.clamp(min=torch.finfo(sums_RC.dtype).tiny)
        return ratio_RC[:, self._classes(self.student_V, rows)] * q_RV

    def column(self, token_ids_R: torch.Tensor) -> torch.Tensor:
        """The column of each sampled token; -1 for a token outside."""
        column_R = self.student_V[token_ids_R.clamp(max=len(self.student_V) - 1)]
        return column_R.masked_fill(token_ids_R >= len(self.student_V), -1)

    def allowed(self, logits_RV: torch.Tensor) -> torch.Tensor:
        """The student's logits as training rollouts sample from them.

        The teacher reads the text, so all tokens are allowed; only padding rows are masked out.
        """
        if logits_RV.shape[1] == len(self.student_V):
            return logits_RV
        allowed_RV = logits_RV.clone()
        allowed_RV[:, len(self.student_V) :] = -torch.inf
        return allowed_RV

    def masked(self, rows: int) -> tuple[int, ...]:
        """The student's ids (of `rows`) that are masked out in training rollouts."""
        return tuple(range(len(self.student_V), rows))

    def _sums(self, p_RV: torch.Tensor, class_V: torch.Tensor) -> torch.Tensor:
        """The probability of each class, and in the last column of what is outside."""
        sums_RC = p_RV.new_zeros(len(p_RV), self.size + 1)
        return sums_RC.index_add(1, self._classes(class_V, p_RV.shape[1]), p_RV)

    def _classes(self, class_V: torch.Tensor, rows: int) -> torch.Tensor:
        full_V = torch.full((rows,), self.size, device=class_V.device)
        known = min(rows, len(class_V))
        full_V[:known] = class_V[:known]
        return full_V.masked_fill(full_V < 0, self.size)
