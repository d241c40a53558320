"""The output projection of a language model, apart from the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Head:
    """hidden -> logits: linear, then `scale`, then `softcap * tanh(logits / softcap)` if set."""

    weight_VD: torch.Tensor
    bias_V: torch.Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    @property
    def rows(self) -> int:
        """Output rows V, padding included."""
        return self.weight_VD.shape[0]

    def cut(self, vocabulary: int) -> Head:
        """The head of the first `vocabulary` ids, sharing memory with this one."""
        bias_V = None if self.bias_V is None else self.bias_V[:vocabulary]
        return replace(self, weight_VD=self.weight_VD[:vocabulary], bias_V=bias_V)

    def picked(self, columns: Sequence[int]) -> Head:
        """The head of the given ids in the given order; of the first ids, without a copy."""
        if list(columns) == list(range(len(columns))):
            return self.cut(len(columns))
        chosen = torch.tensor(columns, device=self.weight_VD.device)
        bias_V = None if self.bias_V is None else self.bias_V[chosen]
        return replace(self, weight_VD=self.weight_VD[chosen], bias_V=bias_V)

    def raw(self, hidden_RD: torch.Tensor) -> torch.Tensor:
        """`logits_RV` in at least fp32, before soft-capping."""
        logits_RV = F.linear(hidden_RD, self.weight_VD, self.bias_V)
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

    def to(self, device: str | torch.device) -> Head:
        """The same head elsewhere."""
        bias_V = None if self.bias_V is None else self.bias_V.to(device)
        return replace(self, weight_VD=self.weight_VD.to(device), bias_V=bias_V)
