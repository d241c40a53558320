"""What the decoding pass takes from a model: the architectures, weights, and scales of norms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

KINDS = ("llama", "qwen2", "qwen3", "gemma3_text")
FULL, SLIDING = "full_attention", "sliding_attention"
# Types of RoPE whose angles do not depend on the sequence length.
ROPES = ("default", "linear", "llama3")
Activation = Callable[[torch.Tensor], torch.Tensor]
ACTIVATIONS: dict[str, Activation] = {
    "silu": partial(F.silu, inplace=True),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
}


def supported(config: Any) -> bool:
    """Whether the decoding pass covers the architecture of a text configuration."""
    kinds = layer_kinds(config)
    return (
        config.model_type in KINDS
        and set(kinds) <= {FULL, SLIDING}
        and all(rope_of(config, kind).get("rope_type", "default") in ROPES for kind in kinds)
        and _activation(config) in ACTIVATIONS
        and not getattr(config, "mlp_bias", False)
    )


def layer_kinds(config: Any) -> list[str]:
    """The kind of attention of each layer: `FULL`, or `SLIDING` over the last tokens only."""
    return getattr(config, "layer_types", None) or [FULL] * config.num_hidden_layers


def rope_of(config: Any, kind: str) -> dict[str, Any]:
    """The RoPE settings of the layers of a kind; most architectures have the same for all."""
    found = getattr(config, "rope_parameters", None) or {}
    return found.get(kind, found)


def activation_of(config: Any) -> Activation:
    """The activation of the MLP; it may overwrite its input."""
    return ACTIVATIONS[_activation(config)]


def _activation(config: Any) -> str:
    return getattr(config, "hidden_act", None) or config.hidden_activation


def rotations(
    model: Any, kind: str, slots: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines `(slots, head width)` by position, sines signed for a roll by half a head.

    They have the model's dtype.
    """
    config, like = model.config.get_text_config(), torch.empty(0, dtype=model.dtype, device=device)
    own = kind in (getattr(config, "rope_parameters", None) or {})
    at = torch.arange(slots, device=device)[None]
    cos, sin = model.get_decoder().rotary_emb(like, at, *([kind] if own else []))
    half = cos.shape[-1] // 2
    return cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)


class Scales(NamedTuple):
    """The scales of a layer's norms: `into` a block, or of its output before the residual sum.

    `heads` are those of the QK-norm, one row per head. None where the model has no norm.
    """

    into_attention: torch.Tensor
    heads: torch.Tensor | None
    of_attention: torch.Tensor | None
    into_mlp: torch.Tensor
    of_mlp: torch.Tensor | None


class LayerWeights:
    """A layer's weights, concatenated for projections of the same input, as `(in, out)`.

    The model's parameters become views of them, so that a weight update reaches both.
    """

    def __init__(self, layer: Any, kind: str) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.kind, self.scaling = kind, attention.scaling
        self.qkv, self.qkv_bias = _concat(attention.q_proj, attention.k_proj, attention.v_proj)
        self.gate_up, _ = _concat(mlp.gate_proj, mlp.up_proj)
        self.out, self.out_bias = _concat(attention.o_proj)
        self.down, _ = _concat(mlp.down_proj)
        self._layer = layer

    def scales(self) -> Scales:
        """The scales of the norms, as the model's weights are now."""
        layer, heads = self._layer, self._heads()
        first, second = layer.input_layernorm, layer.post_attention_layernorm
        if not hasattr(layer, "pre_feedforward_layernorm"):
            return Scales(scale_of(first), heads, None, scale_of(second), None)
        third, fourth = layer.pre_feedforward_layernorm, layer.post_feedforward_layernorm
        return Scales(scale_of(first), heads, *map(scale_of, (second, third, fourth)))

    def _heads(self) -> torch.Tensor | None:
        attention = self._layer.self_attn
        if not hasattr(attention, "q_norm"):
            return None
        parts = ((attention.q_norm, attention.q_proj), (attention.k_norm, attention.k_proj))
        width = attention.head_dim
        return torch.cat([scale_of(n).expand(x.out_features // width, -1) for n, x in parts])


def scale_of(norm: Any) -> torch.Tensor:
    """What a norm multiplies with: its weight, for Gemma plus one, in fp32."""
    return 1 + norm.weight.float() if type(norm).__name__.startswith("Gemma") else norm.weight


@torch.no_grad()
def _concat(*layers: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Concatenated weights `(in, out)` and biases; the layers' parameters become views of them."""
    weight = torch.cat([layer.weight for layer in layers]).t()
    if weight.device.type == "cpu":
        # On a CPU, products with few rows are faster with this memory order.
        weight = weight.contiguous()
    bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    start = 0
    for layer in layers:
        columns = slice(start, start + layer.out_features)
        layer.weight.data = weight[:, columns].t()
        if bias is not None:
            layer.bias.data = bias[columns]
        start = columns.stop
    return weight, bias
