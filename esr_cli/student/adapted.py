"""A linear layer with a LoRA adapter, in fewer operations and less memory than peft's.

peft casts the input of every layer to the adapter's dtype, fp32, and saves the cast copy for
backward. Here products use the layer's dtype, as under autocast, and only the input is saved.
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
    """Replaces the layer's forward; `merged_OI` will hold its weight plus adapter.

    In fp32 the layer multiplies by the sum: one product instead of three. In 16 bits the sum would
    round small adapters away, so weight and adapter are multiplied separately. Only plain adapters
    of plain linear layers are changed; others keep peft's forward.
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
        return _LoraLinear.apply(x, weight_OI, base.bias, a_RI, b_OR, scale, summed)

    layer.forward = MethodType(forward, layer)


class _LoraLinear(torch.autograd.Function):
    """`x @ (W + s B A)^T + bias`; `weight_OI` is W, or the whole sum if `summed`."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None,
        a_RI: torch.Tensor, b_OR: torch.Tensor, scale: float, summed: bool,
    ) -> torch.Tensor:  # fmt: skip
        """The output `(..., O)` for `x` of shape `(..., I)`."""
        ctx.save_for_backward(x, weight_OI, a_RI, b_OR)
        ctx.scale, ctx.summed = scale, summed
        output = F.linear(x, weight_OI, bias_O)
        if not summed:
            low_NR = _rows(x) @ a_RI.to(x.dtype).T
            _rows(output).addmm_(low_NR, (b_OR * scale).to(x.dtype).T)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of `x` and of both factors, in their dtypes."""
        x, weight_OI, a_RI, b_OR = ctx.saved_tensors
        x_NI, grad_NO, a_cast_RI = _rows(x), _rows(grad), a_RI.to(x.dtype)
        low_NR = (x_NI @ a_cast_RI.T).mul_(ctx.scale)
        high_NR = grad_NO @ (b_OR * ctx.scale).to(x.dtype)
        grad_a, grad_b = high_NR.T @ x_NI, grad_NO.T @ low_NR
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x_NI = grad_NO @ weight_OI
            if not ctx.summed:
                grad_x_NI.addmm_(high_NR, a_cast_RI)
            grad_x = grad_x_NI.view(x.shape)
        return grad_x, None, None, grad_a.to(a_RI.dtype), grad_b.to(b_OR.dtype), None, None


def _rows(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1, x.shape[-1])
