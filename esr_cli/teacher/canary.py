"""A fixed sequence that a teacher reads with every batch: its states must stay what they were."""

from __future__ import annotations

import torch

from esr_cli.base.failures import Failure

TOKENS = 16
# Largest change, relative to the largest state, that rounding in another batch explains.
LIMITS = {"float32": 1e-3}
LIMIT_16_BIT = 0.1


class CanaryError(Failure):
    """A teacher returns other states for the fixed sequence than at the start of the run."""


class Canary:
    """The fixed sequence `ids`, evenly spaced over the vocabulary, and its first states.

    `dtype` is that of the states' computation. `vocab_size` counts the ids.
    """

    def __init__(self, vocab_size: int, dtype: str) -> None:
        self.ids = tuple(at * (vocab_size - 1) // (TOKENS - 1) for at in range(TOKENS))
        self.limit = LIMITS.get(dtype, LIMIT_16_BIT)
        self._first_LD: torch.Tensor | None = None
        self._gap = 0.0

    def check(self, states_LD: torch.Tensor) -> None:
        """Compares with the first states; raises `CanaryError` beyond the limit."""
        states_LD = states_LD.float().cpu()
        if self._first_LD is None:
            self._first_LD = states_LD
        if states_LD.shape != self._first_LD.shape:
            shapes = (tuple(each.shape) for each in (states_LD, self._first_LD))
            raise CanaryError("its states are {}, and were {}".format(*shapes))
        most = float(self._first_LD.abs().max()) or 1.0
        gap = float((states_LD - self._first_LD).abs().max()) / most
        # Not a comparison with >: a gap of NaN is one as well.
        if not gap <= self.limit:
            raise CanaryError(
                f"its states for a fixed text differ by {gap:.2g} of the largest from those at the "
                f"start (limit {self.limit:g}): other weights, or another model"
            )
        self._gap = max(self._gap, gap)

    def take(self) -> float:
        """The largest gap since the last call."""
        gap, self._gap = self._gap, 0.0
        return gap
