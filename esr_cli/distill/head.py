"""The output projection of a language model, apart from the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

# Matrix units take 16-bit rows of a multiple of so many numbers; others several times as long.
ALIGNED = 8


@dataclass(frozen=True)
class Head:
    """hidden -> logits: linear, then `scale`, then `softcap * tanh(logits / softcap)` if set.

    The last `spare` rows of weight and bias are no outputs.
    """

    weight_VD: torch.Tensor
    bias_V: torch.Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    spare: int = 0

    @property
    def rows(self) -> int:
        """Output rows V, padding included."""
        return self.weight_VD.shape[0] - self.spare

    def picked(self, columns: Sequence[int]) -> Head:
        """The head of the given ids in the given order; of the first ids, without a copy."""
        count, spare = len(columns), 0
        if self.weight_VD.element_size() == 2:
            spare = min(-count % ALIGNED, len(self.weight_VD) - count)
        if list(columns) == list(range(count)):
            chosen: slice | torch.Tensor = slice(0, count + spare)
        else:
            filled = [*columns, *[columns[0]] * spare]
            chosen = torch.tensor(filled, device=self.weight_VD.device)
        bias_V = None if self.bias_V is None else self.bias_V[chosen]
        return replace(self, weight_VD=self.weight_VD[chosen], bias_V=bias_V, spare=spare)

    def raw(self, hidden_RD: torch.Tensor) -> torch.Tensor:
        """`logits_RV` in at least fp32, before soft-capping."""
        logits_RV = F.linear(hidden_RD, self.weight_VD, self.bias_V)[:, : self.rows]
        if logits_RV.dtype != torch.float64:
            logits_RV = logits_RV.float()
        return logits_RV if self.scale == 1 else logits_RV * self.scale

    def cap(self, raw_RV: torch.Tensor) -> torch.Tensor:
        """The soft cap (Gemma-2), or nothing."""
        if self.softcap is None:
            return raw_RV
        return torch.tanh(raw_RV / self.softcap) * self.softcap

    def cap_slope(self, capped_RV: torch.Tensor) -> torch.Tensor | float:
        """Derivative of the soft cap, from its value."""
        if self.softcap is None:
            return 1.0
        return 1 - (capped_RV / self.softcap) ** 2

    def logits(self, hidden_RD: torch.Tensor) -> torch.Tensor:
        """`logits_RV` as the model itself gives them, in at least fp32."""
        return self.cap(self.raw(hidden_RD))

    def to(self, device: str | torch.device, copy: bool = False) -> Head:
        """The same head elsewhere; of memory of its own if it is to be a copy."""
        bias_V = None if self.bias_V is None else self.bias_V.to(device, copy=copy)
        return replace(self, weight_VD=self.weight_VD.to(device, copy=copy), bias_V=bias_V)
