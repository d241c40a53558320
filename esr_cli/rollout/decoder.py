"""A decoding forward pass for Llama-like and Gemma-3 models, in few operations on a
preallocated cache.

For small models, most of the time per token in transformers' layers is Python overhead. A model
uses this pass only if its logits agree at load time; others use transformers' forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F

from esr_cli.rollout import layer_weights
from esr_cli.rollout.graphs import Graph
from esr_cli.rollout.kv_cache import Cache, Seen
from esr_cli.rollout.layer_weights import FULL, SLIDING, LayerWeights

# Largest mean gap in logits that the order of summation explains, in standard deviations of the
# logits, by dtype. A wrong angle or bias makes the gap many times as large.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}


# (layer index, rotated queries and keys, values), both (rows, heads, width), to the output.
Attend = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


class Decoder:
    """The decoding pass of one model; `of` makes it."""

    def __init__(self, model: Any) -> None:
        config, trunk = model.config.get_text_config(), model.get_decoder()
        self.model, self.trunk = model, trunk
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.width = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        kinds = layer_weights.layer_kinds(config)
        self.layers = [LayerWeights(*each) for each in zip(trunk.layers, kinds, strict=True)]
        self.kinds = sorted(set(kinds))
        self.window = config.sliding_window if SLIDING in kinds else None
        self._activation = layer_weights.activation_of(config)
        self._cap = getattr(config, "final_logit_softcapping", None)
        self._eps = config.rms_norm_eps
        self._eps_tensor = torch.tensor(self._eps, device=model.device)
        self._plain = model.dtype == torch.float32 and model.device.type == "cpu"
        self._tables: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def of(cls, model: Any) -> Decoder | None:
        """A decoder for the model, or None if the architecture or the logits do not match."""
        if not layer_weights.supported(model.config.get_text_config()):
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
        by_kind = {FULL: visible}
        if self.window:
            by_kind[SLIDING] = visible & (at > at[:, None] - self.window)

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
            layer = self.layers[number]
            output = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=by_kind[layer.kind], scale=layer.scaling,
                enable_gqa=keys.shape[1] < self.heads,
            )  # fmt: skip
            return output.transpose(1, 2).reshape(rows * count, -1)

        positions_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
        hidden_ND = self._run_layers(ids_BL.flatten(), positions_BL.flatten(), cache, attend)
        return self._head(hidden_ND.view(rows, count, -1)[:, -1], cache), cache

    def next(self, ids_B: torch.Tensor, cache: Cache) -> torch.Tensor:
        """`logits_BV` after one more token per sequence, which is added to the cache."""
        cache.filled += 1
        seen = cache.filled_slots(self.window)
        return self._next(ids_B, cache, cache.filled - 1, seen)

    def captured(self, cache: Cache) -> Callable[[torch.Tensor], torch.Tensor]:
        """`next` on this cache as a CUDA graph, valid until rows leave the cache.

        A graph has fixed shapes: it attends to all slots, with those not yet filled, or no longer
        in a layer's window, masked out.
        """
        at_1 = torch.tensor([cache.filled], device=cache.mask_BKP.device)
        cache.mask_BKP[..., cache.filled :] = -torch.inf

        def step(ids_B: torch.Tensor) -> torch.Tensor:
            cache.mask_BKP.index_fill_(2, at_1, 0.0)
            logits_BV = self._next(ids_B, cache, at_1, cache.all_slots(at_1, self.window))
            at_1.add_(1)
            return logits_BV

        graph = Graph(step)

        def replay(ids_B: torch.Tensor) -> torch.Tensor:
            cache.filled += 1
            return graph(ids_B)

        return replay

    def _next(
        self, ids_B: torch.Tensor, cache: Cache, at: int | torch.Tensor, seen: Seen
    ) -> torch.Tensor:
        """Writes one token per sequence to slot `at` and attends to the slots `seen`."""
        rows = len(ids_B)
        # Queries of one KV head are grouped, so that keys and values are not copied per query.
        groups, shape = rows * self.kv_heads, (self.width, cache.mask_BKP.shape[-1])
        seen = {kind: (span, mask.view(groups, 1, -1)) for kind, (span, mask) in seen.items()}

        def attend(number: int, rotated: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            """Attention of one token per sequence to the cache, itself included."""
            keys, kept, layer = cache.keys[number], cache.values[number], self.layers[number]
            span, mask = seen[layer.kind]
            cache.put(number, at, rotated[:, self.heads :], values)
            queries = rotated[:, : self.heads].reshape(groups, -1, self.width)
            # Scores are accumulated in fp32, as in the fused kernels; fp32 keys are not copied.
            seen_keys = keys.view(groups, *shape)[..., span].float()
            score = torch.baddbmm(mask, queries.float(), seen_keys, alpha=layer.scaling)
            weight = score.softmax(-1).to(kept.dtype)
            kept = kept.view(groups, *shape[::-1])[:, span]
            return torch.bmm(weight, kept).view(rows, -1)

        hidden_BD = self._run_layers(ids_B, cache.next_B, cache, attend)
        cache.next_B += 1
        return self._head(hidden_BD, cache)

    def _cache(self, mask_BL: torch.Tensor, more: int) -> Cache:
        scales = [layer.scales() for layer in self.layers]
        last = layer_weights.scale_of(self.trunk.norm)
        like = self.layers[0].qkv
        return Cache.empty(mask_BL, more, like, self.kv_heads, self.width, scales, last)

    def _run_layers(
        self, ids_N: torch.Tensor, positions_N: torch.Tensor, cache: Cache, attend: Attend
    ) -> torch.Tensor:
        """`hidden_ND` of tokens at their positions, after all layers."""
        turns = {
            kind: tuple(table[positions_N][:, None] for table in tables)
            for kind, tables in self._rotations(cache.mask_BKP.shape[-1]).items()
        }
        hidden_ND = self.trunk.embed_tokens(ids_N)
        for number, (layer, scales) in enumerate(zip(self.layers, cache.scales, strict=True)):
            qkv, bias = self._norm(hidden_ND, scales.into_attention), layer.qkv_bias
            qkv = qkv @ layer.qkv if bias is None else torch.addmm(bias, qkv, layer.qkv)
            qkv = qkv.view(len(ids_N), -1, self.width)
            rotated = qkv[:, : self.heads + self.kv_heads]
            if scales.heads is not None:
                rotated = self._norm(rotated, scales.heads)
            cos, sin = turns[layer.kind]
            rotated = torch.addcmul(rotated * cos, rotated.roll(self.width // 2, -1), sin)
            output = attend(number, rotated, qkv[:, -self.kv_heads :])
            self._add(hidden_ND, output, layer.out, layer.out_bias, scales.of_attention)
            read = self._norm(hidden_ND, scales.into_mlp) @ layer.gate_up
            gate, up = read.chunk(2, -1)
            output = self._activation(gate).mul_(up)
            self._add(hidden_ND, output, layer.down, None, scales.of_mlp)
        return hidden_ND

    def _add(
        self, hidden_ND: torch.Tensor, x: torch.Tensor, weight: torch.Tensor,
        bias: torch.Tensor | None, scale: torch.Tensor | None,
    ) -> None:  # fmt: skip
        """Adds a block's output projection to the residual stream, normalized if it has a scale."""
        if scale is None:
            hidden_ND.addmm_(x, weight)
            if bias is not None:
                hidden_ND += bias
            return
        x = x @ weight if bias is None else torch.addmm(bias, x, weight)
        hidden_ND += self._norm(x, scale)

    def _head(self, hidden_BD: torch.Tensor, cache: Cache) -> torch.Tensor:
        logits_BV = self.model.lm_head(self._norm(hidden_BD, cache.last))
        return logits_BV if self._cap is None else torch.tanh(logits_BV / self._cap) * self._cap

    def _norm(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        width = x.shape[-1]
        if self._plain:
            # Fewer small operations than F.rms_norm takes here.
            length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            root = torch.addcmul(self._eps_tensor, length, length, value=1 / width).rsqrt_()
            return (x * root).mul_(scale)
        if scale.dtype != x.dtype:
            return F.rms_norm(x.float(), (width,), eps=self._eps).mul_(scale).to(x.dtype)
        if scale.dim() == 1:
            return F.rms_norm(x, (width,), scale, self._eps)
        return F.rms_norm(x, (width,), eps=self._eps) * scale

    def _rotations(self, slots: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """The tables of `layer_weights.rotations` by kind of layer."""
        if not self._tables or len(self._tables[self.kinds[0]][0]) < slots:
            self._tables = {
                kind: layer_weights.rotations(self.model, kind, slots, self.model.device)
                for kind in self.kinds
            }
        return self._tables

    @torch.inference_mode()
    def _agrees(self) -> bool:
        """Whether the logits after a prompt and two tokens equal those of transformers."""
        ids, device = self.trunk.embed_tokens.num_embeddings, self.model.device
        # Ids over the whole vocabulary: the first are often reserved, and untrained.
        ids_BL = torch.linspace(0, ids - 1, 22, device=device)[2:].long().view(2, 10)
        mask_BL = torch.ones_like(ids_BL)
        mask_BL[1, :3] = 0
        positions_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
        with self._short_window(4):
            expected = self.model(
                input_ids=ids_BL, attention_mask=mask_BL, position_ids=positions_BL,
                use_cache=False, logits_to_keep=1,
            ).logits[:, -1]  # fmt: skip
            _, cache = self.read(ids_BL[:, :8], mask_BL[:, :8], 2)
            self.next(ids_BL[:, 8], cache)
            found = self.next(ids_BL[:, 9], cache)
        gap = (found.float() - expected.float()).abs().mean() / expected.float().std()
        return float(gap) <= TOLERANCE.get(found.dtype, 0.0)

    @contextmanager
    def _short_window(self, tokens: int) -> Iterator[None]:
        """Shortens sliding windows for a while, so that a short sequence is longer than they."""
        config, window = self.model.config.get_text_config(), self.window
        if not window:
            yield
            return
        self.window = config.sliding_window = min(window, tokens)
        try:
            yield
        finally:
            self.window = config.sliding_window = window
