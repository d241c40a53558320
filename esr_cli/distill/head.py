"""The output projection of a language model, separate from the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

# Matrix units need 16-bit rows whose length is a multiple of this; other lengths are several
# times slower.
ALIGNED = 8


@dataclass(frozen=True)
class Head:
    """hidden -> logits: linear, then `scale`, then `softcap * tanh(logits / softcap)` if set.

    The last `spare` rows of weight and bias are padding, not outputs.
    """

    weight_VD: torch.Tensor
    bias_V: torch.Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    spare: int = 0

    @property
    def rows(self) -> int:
        """The number of output rows V: includes the model's padding rows, excludes `spare`."""
        return self.weight_VD.shape[0] - self.spare

    def picked(self, columns: Sequence[int]) -> Head:
        """The head of the given ids, in their order; a view if they are the first ids."""
        count, spare = len(columns), 0
        if self.weight_VD.element_size() == 2:
            spare = min(-count % ALIGNED, len(self.weight_VD) - count)
        if list(columns) == list(range(count)):
            index: slice | torch.Tensor = slice(0, count + spare)
        else:
            padded = [*columns, *[columns[0]] * spare]
            index = torch.tensor(padded, device=self.weight_VD.device)
        bias_V = None if self.bias_V is None else self.bias_V[index]
        return replace(self, weight_VD=self.weight_VD[index], bias_V=bias_V, spare=spare)

    def raw(self, hidden_RD: torch.Tensor) -> torch.Tensor:
        """`logits_RV` in at least fp32, before soft-capping."""
        logits_RV = F.linear(hidden_RD, self.weight_VD, self.bias_V)[:, : self.rows]
        if logits_RV.dtype != torch.float64:
            logits_RV = logits_RV.float()
        return logits_RV if self.scale == 1 else logits_RV * self.scale

    def cap(self, raw_RV: torch.Tensor) -> torch.Tensor:
        """Applies the soft cap (Gemma-2), if there is one."""
        if self.softcap is None:
            return raw_RV
        return torch.tanh(raw_RV / self.softcap) * self.softcap

    def cap_slope(self, capped_RV: torch.Tensor) -> torch.Tensor | float:
        """The derivative of the soft cap, computed from its output."""
        if self.softcap is None:
            return 1.0
        return 1 - (capped_RV / self.softcap) ** 2

    def logits(self, hidden_RD: torch.Tensor) -> torch.Tensor:
        """`logits_RV` as the model itself returns them, in at least fp32."""
        return self.cap(self.raw(hidden_RD))

    def to(self, device: str | torch.device, copy: bool = False) -> Head:
        """This head on another device; `copy` as in `torch.Tensor.to`."""
        bias_V = None if self.bias_V is None else self.bias_V.to(device, copy=copy)
        return replace(self, weight_VD=self.weight_VD.to(device, copy=copy), bias_V=bias_V)
