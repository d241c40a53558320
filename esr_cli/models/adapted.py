"""A linear layer with a low-rank adapter, read through the sum of both.

peft multiplies by the weight and by both factors of the adapter, in fp32 beside a weight in bf16.
The sum is at hand, since the engine is given it: one product in place of three, and what trains is
what was sampled from, to the last bit of a weight.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def read_through(layer: Any, merged: torch.Tensor, adapter: str) -> None:
    """Has the layer multiply by `merged`, weight plus adapter, whatever that holds by then.

    The gradients are those of the adapter's factors. Only a plain adapter of a plain layer is
    changed; any other goes on as peft has it.
    """
    plain = (
        type(layer) is Linear
        and type(layer.base_layer) is nn.Linear
        and isinstance(layer.lora_dropout[adapter], nn.Identity)
        and not layer.lora_variant
    )
    if not plain:
        return

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        a_RI, b_OR = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        scale = self.scaling[adapter]
        return _Adapted.apply(x, merged, self.base_layer.bias, a_RI, b_OR, scale)

    layer.forward = MethodType(forward, layer)


class _Adapted(torch.autograd.Function):
    """`x @ (W + s B A)^T`, given the sum as `merged_OI`."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, merged_OI: torch.Tensor, bias_O: torch.Tensor | None,
        a_RI: torch.Tensor, b_OR: torch.Tensor, scale: float,
    ) -> torch.Tensor:  # fmt: skip
        ctx.save_for_backward(x, merged_OI, a_RI, b_OR)
        ctx.scale = scale
        return F.linear(x, merged_OI, bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        x, merged_OI, a_RI, b_OR = ctx.saved_tensors
        of_x = grad @ merged_OI if ctx.needs_input_grad[0] else None
        x_NI, grad_NO = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
        # In the type of the layer, as under autocast; what is added up stays in the adapter's.
        low_NR = x_NI @ (a_RI * ctx.scale).to(x.dtype).T
        high_NR = grad_NO @ (b_OR * ctx.scale).to(x.dtype)
        of_a, of_b = high_NR.T @ x_NI, grad_NO.T @ low_NR
        return of_x, None, None, of_a.to(a_RI.dtype), of_b.to(b_OR.dtype), None
