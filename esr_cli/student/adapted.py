"""A linear layer with a low-rank adapter, in as few operations as its gradients leave.

peft casts the input of every layer to the type of the adapter, which is fp32, and keeps it. Here
the products are in the layer's own type, as under autocast, and nothing is kept but the input.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def read_through(layer: Any, merged_OI: torch.Tensor, adapter: str) -> None:
    """Has the layer multiply as below; `merged_OI` is where its weight plus adapter will lie.

    In fp32 the sum itself is multiplied by: one product in place of three. In 16 bits it would
    round small adapters away, and weight and adapter are multiplied by apart. Only a plain adapter
    of a plain layer is changed; any other goes on as peft has it.
    """
    plain = (
        type(layer) is Linear
        and type(layer.base_layer) is nn.Linear
        and isinstance(layer.lora_dropout[adapter], nn.Identity)
        and not layer.lora_variant
    )
    if not plain:
        return
    summed = merged_OI.dtype == torch.float32

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        base, scale = self.base_layer, self.scaling[adapter]
        a_RI, b_OR = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        weight_OI = merged_OI if summed else base.weight
        return _Adapted.apply(x, weight_OI, base.bias, a_RI, b_OR, scale, summed)

    layer.forward = MethodType(forward, layer)


class _Adapted(torch.autograd.Function):
    """`x @ (W + s B A)^T + bias`; `weight_OI` is W, or all of the sum where it is `summed`."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None,
        a_RI: torch.Tensor, b_OR: torch.Tensor, scale: float, summed: bool,
    ) -> torch.Tensor:  # fmt: skip
        """`(..., O)` of `x`, which is `(..., I)`."""
        ctx.save_for_backward(x, weight_OI, a_RI, b_OR)
        ctx.scale, ctx.summed = scale, summed
        found = F.linear(x, weight_OI, bias_O)
        if not summed:
            low_NR = _rows(x) @ a_RI.to(x.dtype).T
            _rows(found).addmm_(low_NR, (b_OR * scale).to(x.dtype).T)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of `x` and of both factors, in the types that these have."""
        x, weight_OI, a_RI, b_OR = ctx.saved_tensors
        x_NI, grad_NO, near_RI = _rows(x), _rows(grad), a_RI.to(x.dtype)
        low_NR = (x_NI @ near_RI.T).mul_(ctx.scale)
        high_NR = grad_NO @ (b_OR * ctx.scale).to(x.dtype)
        of_a, of_b = high_NR.T @ x_NI, grad_NO.T @ low_NR
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x_NI = grad_NO @ weight_OI
            if not ctx.summed:
                of_x_NI.addmm_(high_NR, near_RI)
            of_x = of_x_NI.view(x.shape)
        return of_x, None, None, of_a.to(a_RI.dtype), of_b.to(b_OR.dtype), None, None


def _rows(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1, x.shape[-1])
