"""What a teacher reads for a batch of rollouts, and the rows of its states that are scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from esr_cli.models.reading import Reading, SameText, SameTokens
from esr_cli.types import HiddenScores, LogitScores, Rollout, Scores


@dataclass(frozen=True)
class Batch:
    """The token ids that the teacher reads, a sequence per rollout: its prompt and the response.

    `prompt_tokens` counts the tokens of each prompt.
    """

    sequences: tuple[tuple[int, ...], ...]
    prompt_tokens: tuple[int, ...]
    readings: tuple[Reading, ...]

    @classmethod
    def of(
        cls, rollouts: Sequence[Rollout], reader: SameTokens | SameText, longest: int | None = None
    ) -> Batch:
        """The batch of these rollouts; what is beyond `longest` tokens is not read.

        Another tokenizer may need more tokens for a response than the student did.
        """
        prompts = [rollout.prompt.teacher_ids for rollout in rollouts]
        rooms = [None if longest is None else max(0, longest - len(ids)) for ids in prompts]
        readings = tuple(
            _cut(reader.read(rollout.response_ids), room)
            for rollout, room in zip(rollouts, rooms, strict=True)
        )
        sequences = (p + r.ids for p, r in zip(prompts, readings, strict=True))
        return cls(tuple(sequences), tuple(map(len, prompts)), readings)

    def rows(
        self, at: int, states_LX: torch.Tensor, prompt_tokens: int | None = None
    ) -> torch.Tensor:
        """The states of a sequence that predict its response tokens; one row per token.

        The row of a token that is not aligned is arbitrary. `prompt_tokens` is the number of the
        prompt's last tokens that are among the states, if not all are.
        """
        rows = torch.tensor(self.readings[at].rows, device=states_LX.device, dtype=torch.long)
        before = self.prompt_tokens[at] if prompt_tokens is None else prompt_tokens
        return states_LX[before - 1 + rows.clamp(min=0)]

    def scores(
        self, rows: Sequence[torch.Tensor], hidden: bool = True,
        metrics: Mapping[str, float] | None = None,
    ) -> Scores:  # fmt: skip
        """The scores of all rollouts, from the rows of each, and what the teacher measured."""
        states_RX = torch.cat(list(rows))
        rows_R = torch.tensor([row for reading in self.readings for row in reading.rows])
        aligned_R = None if bool((rows_R >= 0).all()) else rows_R >= 0
        kind = HiddenScores if hidden else LogitScores
        return kind(states_RX, aligned_R, metrics or {})


def _cut(reading: Reading, room: int | None) -> Reading:
    """The first `room` tokens of a reading; the state after them still predicts."""
    if room is None or len(reading.ids) <= room:
        return reading
    rows = tuple(row if row <= room else -1 for row in reading.rows)
    return Reading(reading.ids[:room], rows)
