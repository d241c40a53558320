"""A decoding forward pass for Llama-like models, in few operations on a preallocated cache.

For small models, most of the time per token in transformers' layers is Python overhead. A model
uses this pass only if its logits agree at load time; others use transformers' forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from esr_cli.distill.head import ALIGNED
from esr_cli.rollout.graphs import Graph

KINDS = ("llama", "qwen2", "qwen3")
# Types of RoPE whose angles do not depend on the sequence length.
ROPES = ("default", "linear", "llama3")
# Largest mean gap in logits that the order of summation explains, in standard deviations of the
# logits, by dtype. A wrong angle or bias makes the gap many times as large.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}


@dataclass
class Cache:
    """The KV cache of a batch, with its attention mask.

    P is the number of slots. Per layer: `keys` `(B, kv heads, head width, P)` and `values`
    `(B, kv heads, P, head width)`. `mask_BKP` is added to scores: minus infinity at padding, else
    0. `next_B` is each sequence's next position id; `norms` are each layer's QK-norm scales.
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    mask_BKP: torch.Tensor
    next_B: torch.Tensor
    norms: list[torch.Tensor | None]
    filled: int

    def keep(self, rows_B: torch.Tensor) -> None:
        """Keeps only these rows, in this order. A row may occur more than once."""
        # One layer at a time: two full caches may not fit in memory.
        for number, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            self.keys[number], self.values[number] = keys[rows_B], values[rows_B]
        self.mask_BKP, self.next_B = self.mask_BKP[rows_B], self.next_B[rows_B]
        # A CUDA graph may have masked slots that are not filled yet.
        self.mask_BKP[..., self.filled :] = 0


# (layer index, rotated queries and keys, values), both (rows, heads, width), to the output.
Attend = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


class _LayerWeights:
    """A layer's weights, concatenated for projections of the same input, as `(in, out)`.

    The model's parameters become views of them, so that a weight update reaches both.
    """

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.qkv, self.qkv_bias = _concat(attention.q_proj, attention.k_proj, attention.v_proj)
        self.gate_up, _ = _concat(mlp.gate_proj, mlp.up_proj)
        self.out, self.out_bias = _concat(attention.o_proj)
        self.down, _ = _concat(mlp.down_proj)
        self.before = layer.input_layernorm.weight
        self.after = layer.post_attention_layernorm.weight
        self._attention = attention

    def norms(self) -> torch.Tensor | None:
        """The QK-norm scales, one row per head; None if the model has no QK-norm."""
        attention, width = self._attention, self._attention.head_dim
        if not hasattr(attention, "q_norm"):
            return None
        parts = ((attention.q_norm, attention.q_proj), (attention.k_norm, attention.k_proj))
        return torch.cat([norm.weight.expand(x.out_features // width, -1) for norm, x in parts])


class Decoder:
    """The decoding pass of one model; `of` makes it."""

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        self.model = model
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.width = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.layers = [_LayerWeights(layer) for layer in model.model.layers]
        self.embedding, self.last = model.model.embed_tokens.weight, model.model.norm.weight
        self._eps = config.rms_norm_eps
        self._eps_tensor = torch.tensor(self._eps, device=model.device)
        self._plain = model.dtype == torch.float32 and model.device.type == "cpu"
        self._tables: tuple[torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def of(cls, model: Any) -> Decoder | None:
        """A decoder for the model, or None if the architecture or the logits do not match."""
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

    def read(
        self, ids_BL: torch.Tensor, mask_BL: torch.Tensor, more: int
    ) -> tuple[torch.Tensor, Cache]:
        """`logits_BV` after the prompts, and their cache with room for `more` tokens each.

        Prompts are padded on the left, where `mask_BL` is 0.
        """
        rows, count = ids_BL.shape
        cache = self._cache(mask_BL, more)
        at = torch.arange(count, device=ids_BL.device)
        # A padding token attends to itself: a row that attends to nothing would be NaN.
        visible = mask_BL.bool()[:, None, None] & (at <= at[:, None]) | (at == at[:, None])

        def attend(number: int, rotated: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            """Attention within each prompt; writes all keys and values to the cache."""
            rotated = rotated.view(rows, count, -1, self.width).transpose(1, 2)
            values = values.reshape(rows, count, -1, self.width).transpose(1, 2)
            cache.keys[number][..., :count] = rotated[:, self.heads :].transpose(2, 3)
            cache.values[number][:, :, :count] = values
            queries, keys = rotated[:, : self.heads], rotated[:, self.heads :]
            if queries.is_cuda and self.kv_heads < self.heads:
                # On CUDA, fused kernels with a mask need as many KV heads as query heads.
                each = self.heads // self.kv_heads
                keys, values = (x.repeat_interleave(each, 1) for x in (keys, values))
            output = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=visible, enable_gqa=keys.shape[1] < self.heads
            )
            return output.transpose(1, 2).reshape(rows * count, -1)

        positions_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
        hidden_ND = self._run_layers(ids_BL.flatten(), positions_BL.flatten(), cache, attend)
        return self._head(hidden_ND.view(rows, count, -1)[:, -1]), cache

    def next(self, ids_B: torch.Tensor, cache: Cache) -> torch.Tensor:
        """`logits_BV` after one more token per sequence, which is added to the cache."""
        cache.filled += 1
        return self._next(ids_B, cache, cache.filled - 1, cache.filled)

    def captured(self, cache: Cache) -> Callable[[torch.Tensor], torch.Tensor]:
        """`next` on this cache as a CUDA graph, valid until rows leave the cache.

        A graph has fixed shapes: it attends to all slots, with those not yet filled masked out.
        """
        slots, device = cache.mask_BKP.shape[-1], cache.mask_BKP.device
        at_1 = torch.tensor([cache.filled], device=device)
        cache.mask_BKP[..., cache.filled :] = -torch.inf

        def step(ids_B: torch.Tensor) -> torch.Tensor:
            cache.mask_BKP.index_fill_(2, at_1, 0.0)
            logits_BV = self._next(ids_B, cache, at_1, slots)
            at_1.add_(1)
            return logits_BV

        graph = Graph(step)

        def replay(ids_B: torch.Tensor) -> torch.Tensor:
            cache.filled += 1
            return graph(ids_B)

        return replay

    def _next(
        self, ids_B: torch.Tensor, cache: Cache, at: int | torch.Tensor, seen: int
    ) -> torch.Tensor:
        """Writes one token per sequence to slot `at` and attends to the first `seen` slots."""
        rows = len(ids_B)
        # Queries of one KV head are grouped, so that keys and values are not copied per query.
        groups, shape = rows * self.kv_heads, (self.width, cache.mask_BKP.shape[-1])
        mask = cache.mask_BKP.view(groups, 1, -1)[..., :seen]

        def attend(number: int, rotated: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            """Attention of one token per sequence to the cache, itself included."""
            keys, kept = cache.keys[number], cache.values[number]
            _put(keys, 3, at, rotated[:, self.heads :])
            _put(kept, 2, at, values)
            queries = rotated[:, : self.heads].reshape(groups, -1, self.width)
            # Scores are accumulated in fp32, as in the fused kernels; fp32 keys are not copied.
            seen_keys = keys.view(groups, *shape)[..., :seen].float()
            score = torch.baddbmm(mask, queries.float(), seen_keys, alpha=self.width**-0.5)
            weight = score.softmax(-1).to(kept.dtype)
            kept = kept.view(groups, *shape[::-1])[:, :seen]
            return torch.bmm(weight, kept).view(rows, -1)

        hidden_BD = self._run_layers(ids_B, cache.next_B, cache, attend)
        cache.next_B += 1
        return self._head(hidden_BD)

    def _cache(self, mask_BL: torch.Tensor, more: int) -> Cache:
        rows, count = mask_BL.shape
        slots, like = count + more, self.layers[0].qkv
        slots += -slots % ALIGNED
        mask_BKP = torch.zeros(rows, self.kv_heads, slots, device=like.device)
        mask_BKP[..., :count].masked_fill_(~mask_BL.bool()[:, None], -torch.inf)
        return Cache(
            [like.new_zeros(rows, self.kv_heads, self.width, slots) for _ in self.layers],
            [like.new_zeros(rows, self.kv_heads, slots, self.width) for _ in self.layers],
            mask_BKP, mask_BL.sum(-1), [layer.norms() for layer in self.layers], count,
        )  # fmt: skip

    def _run_layers(
        self, ids_N: torch.Tensor, positions_N: torch.Tensor, cache: Cache, attend: Attend
    ) -> torch.Tensor:
        """`hidden_ND` of tokens at their positions, after all layers."""
        tables = self._rotation(cache.mask_BKP.shape[-1])
        cos, sin = (table[positions_N][:, None] for table in tables)
        hidden_ND = F.embedding(ids_N, self.embedding)
        for number, (layer, norm_HD) in enumerate(zip(self.layers, cache.norms, strict=True)):
            qkv, bias = self._norm(hidden_ND, layer.before), layer.qkv_bias
            qkv = qkv @ layer.qkv if bias is None else torch.addmm(bias, qkv, layer.qkv)
            qkv = qkv.view(len(ids_N), -1, self.width)
            rotated = qkv[:, : self.heads + self.kv_heads]
            if norm_HD is not None:
                rotated = self._norm(rotated, norm_HD)
            rotated = torch.addcmul(rotated * cos, rotated.roll(self.width // 2, -1), sin)
            output = attend(number, rotated, qkv[:, -self.kv_heads :])
            hidden_ND.addmm_(output, layer.out)
            if layer.out_bias is not None:
                hidden_ND += layer.out_bias
            read = self._norm(hidden_ND, layer.after) @ layer.gate_up
            gate, up = read.chunk(2, -1)
            hidden_ND.addmm_(F.silu(gate).mul_(up), layer.down)
        return hidden_ND

    def _head(self, hidden_BD: torch.Tensor) -> torch.Tensor:
        return self.model.lm_head(self._norm(hidden_BD, self.last))

    def _norm(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        width = x.shape[-1]
        if self._plain:
            # Fewer small operations than F.rms_norm takes here.
            length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            root = torch.addcmul(self._eps_tensor, length, length, value=1 / width).rsqrt_()
            return (x * root).mul_(scale)
        if scale.dim() == 1:
            return F.rms_norm(x, (width,), scale, self._eps)
        return F.rms_norm(x, (width,), eps=self._eps) * scale

    def _rotation(self, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tables by position of cosines and of sines, signed for a roll by half a head."""
        if self._tables is None or len(self._tables[0]) < slots:
            weight = self.layers[0].qkv
            at = torch.arange(slots, device=weight.device)[None]
            cos, sin = self.model.model.rotary_emb(weight, at)
            half = self.width // 2
            self._tables = cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)
        return self._tables

    @torch.inference_mode()
    def _agrees(self) -> bool:
        ids_BL = torch.arange(1, 17, device=self.model.device).view(2, 8) % len(self.embedding)
        mask_BL = torch.ones_like(ids_BL)
        mask_BL[1, :3] = 0
        positions_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
        expected = self.model(
            input_ids=ids_BL, attention_mask=mask_BL, position_ids=positions_BL, use_cache=False
        ).logits[:, -1]
        _, cache = self.read(ids_BL[:, :7], mask_BL[:, :7], 1)
        found = self.next(ids_BL[:, 7], cache)
        gap = (found.float() - expected.float()).abs().mean() / expected.float().std()
        return float(gap) <= TOLERANCE.get(found.dtype, 0.0)


def _put(kept: torch.Tensor, dim: int, at: int | torch.Tensor, new: torch.Tensor) -> None:
    if isinstance(at, int):
        kept.select(dim, at).copy_(new)
    else:
        kept.index_copy_(dim, at, new.unsqueeze(dim))


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
