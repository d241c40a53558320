"""A linear layer with a LoRA adapter, in fewer operations and less memory than peft's.

peft casts the input of every layer to the adapter's dtype, fp32, and saves the cast copy for
backward. Here products use the layer's dtype, as under autocast, and only the input is saved.
"""

from __future__ import annotations

import hashlib
from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class SeededDropout(nn.Module):
    """Inverted dropout in training; the mask follows from `draw`'s key, not from earlier calls.

    A resumed run therefore continues with the same masks, and recomputation under gradient
    checkpointing repeats them.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        # A tensor, always on the CPU: a number would compile each layer anew at every step.
        self.seed = torch.zeros((), dtype=torch.int64)

    def draw(self, key: str) -> None:
        """Fixes the mask until the next call."""
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        self.seed.fill_(int.from_bytes(digest, "big") >> 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` with the share `rate` of its values at zero and the others scaled up."""
        if not self.training:
            return x
        return x * kept(x, self.seed, self.rate) / (1 - self.rate)


@torch.library.custom_op("esr::kept", mutates_args=())
def kept(x: torch.Tensor, seed: torch.Tensor, rate: float) -> torch.Tensor:
    """A mask of the shape and dtype of `x`: 0 with probability `rate`, else 1; set by `seed`."""
    stream = torch.Generator(x.device).manual_seed(int(seed))
    # Not like `x`: the values would depend on its strides.
    mask = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    return mask.bernoulli_(1 - rate, generator=stream)


@kept.register_fake
def _(x: torch.Tensor, seed: torch.Tensor, rate: float) -> torch.Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def read_through(layer: Any, merged_OI: torch.Tensor | None, adapter: str) -> None:
    """Replaces the layer's forward; `merged_OI`, if given, will hold its weight plus adapter.

    In fp32 the layer multiplies by that sum: one product instead of three. In 16 bits the sum would
    round small adapters away, so weight and adapter are multiplied separately, and with dropout
    because their inputs differ. Only plain adapters of plain linear layers are changed; others keep
    peft's forward.
    """
    dropout = layer.lora_dropout[adapter]
    plain = (
        type(layer) is Linear
        and type(layer.base_layer) is nn.Linear
        and isinstance(dropout, nn.Identity | SeededDropout)
        and not layer.lora_variant
    )
    if not plain:
        return

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        """The layer's output `(..., O)` for `x` of shape `(..., I)`."""
        base, scale = self.base_layer, self.scaling[adapter]
        a_RI, b_OR = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        seed, rate = None, 0.0
        if isinstance(dropout, SeededDropout) and dropout.training:
            seed, rate = dropout.seed, dropout.rate
        weight_OI, summed = base.weight, False
        if merged_OI is not None and merged_OI.dtype == torch.float32 and seed is None:
            weight_OI, summed = merged_OI, True
        # The mask is binary; the scale makes up for the inputs that it drops.
        scale = scale / (1 - rate)
        return _LoraLinear.apply(x, weight_OI, base.bias, a_RI, b_OR, scale, summed, seed, rate)

    layer.forward = MethodType(forward, layer)


class _LoraLinear(torch.autograd.Function):
    """`x @ W^T + s (m x) @ (B A)^T + bias` with a mask m of ones unless a `seed` is given.

    `weight_OI` is W, or W + s B A if `summed`.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None,
        a_RI: torch.Tensor, b_OR: torch.Tensor, scale: float, summed: bool,
        seed: torch.Tensor | None, rate: float,
    ) -> torch.Tensor:  # fmt: skip
        """The output `(..., O)` for `x` of shape `(..., I)`."""
        ctx.save_for_backward(x, weight_OI, a_RI, b_OR, seed)
        ctx.scale, ctx.summed, ctx.rate = scale, summed, rate
        output = F.linear(x, weight_OI, bias_O)
        if not summed:
            seen = x if seed is None else x * kept(x, seed, rate)
            low_NR = _rows(seen) @ a_RI.to(x.dtype).T
            _rows(output).addmm_(low_NR, (b_OR * scale).to(x.dtype).T)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of `x` and of both factors, in their dtypes."""
        x, weight_OI, a_RI, b_OR, seed = ctx.saved_tensors
        # Drawn again rather than saved: the mask is as large as the input.
        mask_NI = None if seed is None else _rows(kept(x, seed, ctx.rate))
        x_NI, grad_NO, a_cast_RI = _rows(x), _rows(grad), a_RI.to(x.dtype)
        if mask_NI is not None:
            x_NI = x_NI * mask_NI
        low_NR = (x_NI @ a_cast_RI.T).mul_(ctx.scale)
        high_NR = grad_NO @ (b_OR * ctx.scale).to(x.dtype)
        grad_a, grad_b = high_NR.T @ x_NI, grad_NO.T @ low_NR
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x_NI = grad_NO @ weight_OI
            if mask_NI is not None:
                grad_x_NI += (high_NR @ a_cast_RI).mul_(mask_NI)
            elif not ctx.summed:
                grad_x_NI.addmm_(high_NR, a_cast_RI)
            grad_x = grad_x_NI.view(x.shape)
        of_factors = grad_a.to(a_RI.dtype), grad_b.to(b_OR.dtype)
        return grad_x, None, None, *of_factors, None, None, None, None


def _rows(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1, x.shape[-1])
