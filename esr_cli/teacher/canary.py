"""A fixed sequence that a teacher reads with every batch: its states must stay what they were."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from esr_cli.base import files
from esr_cli.base.failures import Failure

TOKENS = 16
# Largest change of a state, relative to its norm, that rounding in another batch explains.
LIMITS = {"float32": 1e-3}
LIMIT_16_BIT = 0.05


class CanaryError(Failure):
    """A teacher returns other states for the fixed sequence than at the start of the run."""


class Canary:
    """The fixed sequence `ids`, evenly spaced over the vocabulary, and its first states.

    `dtype` is that of the states' computation. `vocab_size` counts the ids. The first states are
    kept in `file`, if one is given, so that a resumed run knows them.
    """

    def __init__(self, vocab_size: int, dtype: str, file: Path | None = None) -> None:
        self.file = file
        self.ids = tuple(at * (vocab_size - 1) // (TOKENS - 1) for at in range(TOKENS))
        self.limit = LIMITS.get(dtype, LIMIT_16_BIT)
        self._first_LD: torch.Tensor | None = None
        self._gap = 0.0

    def check(self, states_LD: torch.Tensor) -> None:
        """Compares with the first states; raises `CanaryError` beyond the limit."""
        states_LD = states_LD.float().cpu()
        if not states_LD.isfinite().all():
            raise CanaryError("its states for a fixed text are not finite")
        if self._first_LD is None:
            self._first_LD = self._known(states_LD)
        if states_LD.shape != self._first_LD.shape:
            shapes = (tuple(each.shape) for each in (states_LD, self._first_LD))
            raise CanaryError("its states are {}, and were {}".format(*shapes))
        norm_L = self._first_LD.norm(dim=-1).clamp(min=1e-6)
        gap = float(((states_LD - self._first_LD).norm(dim=-1) / norm_L).max())
        # Not a comparison with >: a gap of NaN is one as well.
        if not gap <= self.limit:
            raise CanaryError(
                f"its states for a fixed text differ by {gap:.2g} of their norm from the first "
                f"(limit {self.limit:g}): other weights, another model, or another precision "
                "(a server in 16 bits needs pair.dtype=bfloat16)"
            )
        self._gap = max(self._gap, gap)

    def _known(self, states_LD: torch.Tensor) -> torch.Tensor:
        """The first states of the run, which are these if none are kept."""
        if self.file is None:
            return states_LD
        if not self.file.exists():
            files.write_bytes(self.file, save({"states": states_LD.contiguous()}))
        try:
            return load(self.file.read_bytes())["states"]
        except (OSError, KeyError, SafetensorError) as error:
            raise CanaryError(f"{self.file} cannot be read ({error}); delete it") from None

    def take(self) -> float:
        """The largest gap since the last call."""
        gap, self._gap = self._gap, 0.0
        return gap
