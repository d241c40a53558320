"""The forward pass of Llama-like models for decoding, in few operations on a cache laid out ahead.

At small sizes the layers of transformers spend most of a decoded token on their own bookkeeping.
Only models that this pass was seen to agree with take it; all others go the library's way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

KINDS = ("llama", "qwen2", "qwen3")
# Those whose rotation does not change with the length of a text.
ROPES = ("default", "linear", "llama3")
# Largest gap in logits, by the type of the weights, that the order of sums explains.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.2}


@dataclass
class Cache:
    """Keys and values of every layer, `(2, B, kv heads, places, head width)`, and what is filled.

    `open_BP` tells which places may be looked at; `norms` are the scales of each layer's heads.
    """

    layers: list[torch.Tensor]
    open_BP: torch.Tensor
    norms: list[torch.Tensor | None]
    filled: int = 0

    def keep(self, rows_B: torch.Tensor) -> None:
        """Goes on with some of the rows."""
        self.layers = [layer[:, rows_B] for layer in self.layers]
        self.open_BP = self.open_BP[rows_B]


class _Layer:
    """A layer's weights, those that read the same input laid side by side.

    The model's own become parts of these: one memory, and new weights are seen by both.
    """

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.qkv, self.qkv_bias = _beside(attention.q_proj, attention.k_proj, attention.v_proj)
        self.gate_up, _ = _beside(mlp.gate_proj, mlp.up_proj)
        self.out, self.out_bias = attention.o_proj.weight, attention.o_proj.bias
        self.down = mlp.down_proj.weight
        self.before, self.after = layer.input_layernorm, layer.post_attention_layernorm
        self._attention = attention

    def norms(self) -> torch.Tensor | None:
        """The scales of queries and keys, a row a head; none where they are not normed."""
        attention, width = self._attention, self._attention.head_dim
        if not hasattr(attention, "q_norm"):
            return None
        parts = ((attention.q_norm, attention.q_proj), (attention.k_norm, attention.k_proj))
        return torch.cat([norm.weight.expand(x.out_features // width, -1) for norm, x in parts])


class Decoder:
    """One model's decoding; see `of`."""

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        self.model = model
        self.heads, self.pairs = config.num_attention_heads, config.num_key_value_heads
        self.width = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps = config.rms_norm_eps
        self.layers = [_Layer(layer) for layer in model.model.layers]
        self._turns: tuple[torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def of(cls, model: Any) -> Decoder | None:
        """A decoder for the model, or none where it is of another kind or does not agree."""
        config = model.config.get_text_config()
        rope = getattr(config, "rope_parameters", None) or {}
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        fits = (
            config.model_type in KINDS
            and rope.get("rope_type", "default") in ROPES
            and kinds == {"full_attention"}
            and config.hidden_act == "silu"
            and not getattr(config, "mlp_bias", False)
        )
        if not fits:
            return None
        made = cls(model)
        return made if made._agrees() else None

    def cache(self, mask_BL: torch.Tensor, more: int) -> Cache:
        """Room for prompts, padded on the left where `mask_BL` is 0, and `more` tokens each."""
        rows, places = mask_BL.shape[0], mask_BL.shape[1] + more
        weight = self.layers[0].qkv
        shape = (2, rows, self.pairs, places, self.width)
        layers = [weight.new_zeros(shape) for _ in self.layers]
        ahead = torch.ones(rows, more, dtype=torch.bool, device=mask_BL.device)
        norms = [layer.norms() for layer in self.layers]
        return Cache(layers, torch.cat([mask_BL.bool(), ahead], dim=1), norms)

    def logits(
        self, ids_BL: torch.Tensor, places_BL: torch.Tensor, cache: Cache
    ) -> torch.Tensor:  # fmt: skip
        """`logits_BV` after the last of the tokens, which the cache then holds."""
        rows, count = ids_BL.shape
        cos, sin = (table[places_BL][:, :, None] for table in self._rotation(cache))
        start, cache.filled = cache.filled, cache.filled + count
        looked = self._looked(cache, start, count)
        hidden_BLD = self.model.model.embed_tokens(ids_BL)
        for layer, kept, norm_HD in zip(self.layers, cache.layers, cache.norms, strict=True):
            read = self._norm(hidden_BLD, layer.before)
            found = F.linear(read, layer.qkv, layer.qkv_bias).view(rows, count, -1, self.width)
            turned = found[:, :, : self.heads + self.pairs]
            if norm_HD is not None:
                turned = F.rms_norm(turned, (self.width,), eps=self.eps) * norm_HD
            turned = torch.addcmul(turned * cos, turned.roll(self.width // 2, -1), sin)
            kept[0, :, :, start : cache.filled] = turned[:, :, self.heads :].transpose(1, 2)
            kept[1, :, :, start : cache.filled] = found[:, :, -self.pairs :].transpose(1, 2)
            answer = F.scaled_dot_product_attention(
                turned[:, :, : self.heads].transpose(1, 2), kept[0, :, :, : cache.filled],
                kept[1, :, :, : cache.filled], attn_mask=looked,
                enable_gqa=self.heads != self.pairs,
            )  # fmt: skip
            answer = answer.transpose(1, 2).reshape(rows, count, -1)
            hidden_BLD = hidden_BLD + F.linear(answer, layer.out, layer.out_bias)
            gate, up = F.linear(self._norm(hidden_BLD, layer.after), layer.gate_up).chunk(2, -1)
            hidden_BLD = hidden_BLD + F.linear(F.silu(gate) * up, layer.down)
        return self.model.lm_head(self._norm(hidden_BLD[:, -1], self.model.model.norm))

    def _norm(self, hidden: torch.Tensor, norm: Any) -> torch.Tensor:
        return F.rms_norm(hidden, norm.weight.shape, norm.weight, self.eps)

    def _looked(self, cache: Cache, start: int, count: int) -> torch.Tensor:
        """Where each of the new tokens may look: `(B, 1, count, filled)`."""
        open_BP = cache.open_BP[:, None, None, : cache.filled]
        if count == 1:
            return open_BP
        device = open_BP.device
        own = torch.arange(start, cache.filled, device=device)[:, None]
        before = torch.arange(cache.filled, device=device)[None] <= own
        # A padded token looks at itself, or it would look at nothing and be no number.
        itself = torch.arange(cache.filled, device=device)[None] == own
        return (open_BP & before) | itself

    def _rotation(self, cache: Cache) -> tuple[torch.Tensor, torch.Tensor]:
        """Tables by place of cosines and, for what is rolled by half a head, signed sines."""
        places = cache.open_BP.shape[1]
        if self._turns is None or len(self._turns[0]) < places:
            weight = self.layers[0].qkv
            at = torch.arange(places, device=weight.device)[None]
            cos, sin = self.model.model.rotary_emb(weight, at)
            half = self.width // 2
            self._turns = cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)
        return self._turns

    @torch.no_grad()
    def _agrees(self) -> bool:
        ids_BL = torch.arange(1, 17, device=self.model.device).view(2, 8)
        mask_BL = torch.ones_like(ids_BL)
        mask_BL[1, :3] = 0
        places_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
        expected = self.model(
            input_ids=ids_BL, attention_mask=mask_BL, position_ids=places_BL, use_cache=False
        ).logits[:, -1]
        cache = self.cache(mask_BL[:, :7], 1)
        self.logits(ids_BL[:, :7], places_BL[:, :7], cache)
        found = self.logits(ids_BL[:, 7:], places_BL[:, 7:], cache)
        tolerance = TOLERANCE.get(found.dtype, 0.0)
        return bool(torch.allclose(found, expected, rtol=tolerance, atol=tolerance))


@torch.no_grad()
def _beside(*layers: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    weight = torch.cat([layer.weight for layer in layers])
    bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    start = 0
    for layer in layers:
        rows = slice(start, start + layer.out_features)
        layer.weight.data = weight[rows]
        if bias is not None:
            layer.bias.data = bias[rows]
        start = rows.stop
    return weight, bias
