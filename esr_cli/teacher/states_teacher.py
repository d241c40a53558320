"""A teacher whose hidden states come from vLLM, in a worker or from servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from esr_cli.distill.head import Head
from esr_cli.models.reading import SameText, SameTokens
from esr_cli.teacher.scoring import Batch
from esr_cli.types import Rollout, Scores


class StateSource(Protocol):
    """Where hidden states come from: `VllmStates` or `Servers`."""

    def states(self, sequences: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """The states after the final norm of every token, `(tokens, D)` per sequence."""
        ...

    def figures(self) -> dict[str, float]:
        """Metrics of the last batch."""
        ...


class StatesTeacher:
    """Scores rollouts as `Teacher` does; `load_head` reads the head from the model's files.

    States get the head's `dtype`: vLLM and the wire may have another. The source reads at most
    `longest` tokens.
    """

    def __init__(
        self, source: StateSource, load_head: Callable[[], Head], reader: SameTokens | SameText,
        dtype: str, longest: int,
    ) -> None:  # fmt: skip
        self.source, self.load_head, self.reader = source, load_head, reader
        self.dtype, self.longest = getattr(torch, dtype), longest

    def head(self) -> Head:
        """The output head for the trainer."""
        return self.load_head()

    def close(self) -> None:
        """Ends waiting requests."""
        if close := getattr(self.source, "close", None):
            close()

    def score(self, rollouts: list[Rollout]) -> Scores:
        """One row per response token, in the order of the rollouts."""
        batch = Batch.of(rollouts, self.reader, self.longest)
        states = self.source.states(batch.sequences)
        rows = [batch.rows(at, states_LD).to(self.dtype) for at, states_LD in enumerate(states)]
        return batch.scores(rows, metrics=self.source.figures())
