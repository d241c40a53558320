"""The forward pass of Llama-like models for decoding, in few operations on a cache laid out ahead.

At small sizes the layers of transformers spend most of a decoded token on their own bookkeeping.
Only models that this pass was seen to agree with take it; all others go the library's way.
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
# Those whose rotation does not change with the length of a text.
ROPES = ("default", "linear", "llama3")
# Mean gap in logits that the order of sums explains, in standard deviations of the logits, by the
# type of the weights: a wrong angle or bias makes it many times as large.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}


@dataclass
class Cache:
    """What is left of the texts read so far, and which places may be looked at.

    Of every layer the keys, `(B, kv heads, head width, places)`, and values, `(B, kv heads, places,
    head width)`; `shut_BKP` is minus infinity at the padding and 0 elsewhere, a row a head;
    `next_B` is each text's next place, `norms` the scales of each layer's heads.
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    shut_BKP: torch.Tensor
    next_B: torch.Tensor
    norms: list[torch.Tensor | None]
    filled: int

    def keep(self, rows_B: torch.Tensor) -> None:
        """Goes on with these of the rows, any of which may be there more than once."""
        # One layer at a time: two whole caches may not fit.
        for number, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            self.keys[number], self.values[number] = keys[rows_B], values[rows_B]
        self.shut_BKP, self.next_B = self.shut_BKP[rows_B], self.next_B[rows_B]
        # A graph may have shut what is not filled yet.
        self.shut_BKP[..., self.filled :] = 0


# A layer's number, turned queries and keys, and values, all (rows, heads, width): the answer.
Attend = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


class _Layer:
    """A layer's weights, those that read the same input laid side by side, as `(in, out)`.

    The model's own become parts of these: one memory, and new weights are seen by both.
    """

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.qkv, self.qkv_bias = _beside(attention.q_proj, attention.k_proj, attention.v_proj)
        self.gate_up, _ = _beside(mlp.gate_proj, mlp.up_proj)
        self.out, self.out_bias = _beside(attention.o_proj)
        self.down, _ = _beside(mlp.down_proj)
        self.before = layer.input_layernorm.weight
        self.after = layer.post_attention_layernorm.weight
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
        self.layers = [_Layer(layer) for layer in model.model.layers]
        self.embedding, self.last = model.model.embed_tokens.weight, model.model.norm.weight
        self._eps = config.rms_norm_eps
        self._eps_there = torch.tensor(self._eps, device=model.device)
        self._plain = model.dtype == torch.float32 and model.device.type == "cpu"
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

    def read(
        self, ids_BL: torch.Tensor, mask_BL: torch.Tensor, more: int
    ) -> tuple[torch.Tensor, Cache]:
        """`logits_BV` after prompts, padded on the left where `mask_BL` is 0, and a cache of them
        with room for `more` tokens each.
        """
        rows, count = ids_BL.shape
        cache = self._cache(mask_BL, more)
        own = torch.arange(count, device=ids_BL.device)
        # A padded token looks at itself, or it would look at nothing and be no number.
        looked = mask_BL.bool()[:, None, None] & (own <= own[:, None]) | (own == own[:, None])

        def attend(number: int, turned: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            """Every token to its own text, and all of them kept."""
            turned = turned.view(rows, count, -1, self.width).transpose(1, 2)
            values = values.reshape(rows, count, -1, self.width).transpose(1, 2)
            cache.keys[number][..., :count] = turned[:, self.heads :].transpose(2, 3)
            cache.values[number][:, :, :count] = values
            queries, keys = turned[:, : self.heads], turned[:, self.heads :]
            if queries.is_cuda and self.pairs < self.heads:
                # The fused kernels that take a mask there have a head of keys for each of queries.
                each = self.heads // self.pairs
                keys, values = (x.repeat_interleave(each, 1) for x in (keys, values))
            answer = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=looked, enable_gqa=keys.shape[1] < self.heads
            )
            return answer.transpose(1, 2).reshape(rows * count, -1)

        places_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
        hidden_ND = self._through(ids_BL.flatten(), places_BL.flatten(), cache, attend)
        return self._head(hidden_ND.view(rows, count, -1)[:, -1]), cache

    def next(self, ids_B: torch.Tensor, cache: Cache) -> torch.Tensor:
        """`logits_BV` after one more token of each text, which the cache then holds."""
        cache.filled += 1
        return self._next(ids_B, cache, cache.filled - 1, cache.filled)

    def captured(self, cache: Cache) -> Callable[[torch.Tensor], torch.Tensor]:
        """`next` on this very cache as a CUDA graph, for as long as no text leaves it.

        A graph knows one length, so all places are looked at and those to come are shut.
        """
        places, device = cache.shut_BKP.shape[-1], cache.shut_BKP.device
        at_1 = torch.tensor([cache.filled], device=device)
        cache.shut_BKP[..., cache.filled :] = -torch.inf

        def step(ids_B: torch.Tensor) -> torch.Tensor:
            cache.shut_BKP.index_fill_(2, at_1, 0.0)
            logits_BV = self._next(ids_B, cache, at_1, places)
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
        """Reads a token into place `at` of each text and looks at the first `seen` places."""
        rows = len(ids_B)
        # Queries that share a head of keys stand side by side: nothing is copied for them.
        groups, shape = rows * self.pairs, (self.width, cache.shut_BKP.shape[-1])
        shut = cache.shut_BKP.view(groups, 1, -1)[..., :seen]

        def attend(number: int, turned: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            """The one token of each text to what was kept, itself included."""
            keys, kept = cache.keys[number], cache.values[number]
            _put(keys, 3, at, turned[:, self.heads :])
            _put(kept, 2, at, values)
            queries = turned[:, : self.heads].reshape(groups, -1, self.width)
            # Scores are summed in fp32, as the fused kernels do; of fp32 nothing is copied.
            looked = keys.view(groups, *shape)[..., :seen].float()
            score = torch.baddbmm(shut, queries.float(), looked, alpha=self.width**-0.5)
            share = score.softmax(-1).to(kept.dtype)
            kept = kept.view(groups, *shape[::-1])[:, :seen]
            return torch.bmm(share, kept).view(rows, -1)

        hidden_BD = self._through(ids_B, cache.next_B, cache, attend)
        cache.next_B += 1
        return self._head(hidden_BD)

    def _cache(self, mask_BL: torch.Tensor, more: int) -> Cache:
        rows, count = mask_BL.shape
        places, like = count + more, self.layers[0].qkv
        places += -places % ALIGNED
        shut_BKP = torch.zeros(rows, self.pairs, places, device=like.device)
        shut_BKP[..., :count].masked_fill_(~mask_BL.bool()[:, None], -torch.inf)
        return Cache(
            [like.new_zeros(rows, self.pairs, self.width, places) for _ in self.layers],
            [like.new_zeros(rows, self.pairs, places, self.width) for _ in self.layers],
            shut_BKP, mask_BL.sum(-1), [layer.norms() for layer in self.layers], count,
        )  # fmt: skip

    def _through(
        self, ids_N: torch.Tensor, places_N: torch.Tensor, cache: Cache, attend: Attend
    ) -> torch.Tensor:
        """`hidden_ND` of tokens at their places, after all layers."""
        tables = self._rotation(cache.shut_BKP.shape[-1])
        cos, sin = (table[places_N][:, None] for table in tables)
        hidden_ND = F.embedding(ids_N, self.embedding)
        for number, (layer, norm_HD) in enumerate(zip(self.layers, cache.norms, strict=True)):
            found, bias = self._norm(hidden_ND, layer.before), layer.qkv_bias
            found = found @ layer.qkv if bias is None else torch.addmm(bias, found, layer.qkv)
            found = found.view(len(ids_N), -1, self.width)
            turned = found[:, : self.heads + self.pairs]
            if norm_HD is not None:
                turned = self._norm(turned, norm_HD)
            turned = torch.addcmul(turned * cos, turned.roll(self.width // 2, -1), sin)
            answer = attend(number, turned, found[:, -self.pairs :])
            hidden_ND.addmm_(answer, layer.out)
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
            # A few small operations; the library's own are more there.
            length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            root = torch.addcmul(self._eps_there, length, length, value=1 / width).rsqrt_()
            return (x * root).mul_(scale)
        if scale.dim() == 1:
            return F.rms_norm(x, (width,), scale, self._eps)
        return F.rms_norm(x, (width,), eps=self._eps) * scale

    def _rotation(self, places: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tables by place of cosines and, for what is rolled by half a head, signed sines."""
        if self._turns is None or len(self._turns[0]) < places:
            weight = self.layers[0].qkv
            at = torch.arange(places, device=weight.device)[None]
            cos, sin = self.model.model.rotary_emb(weight, at)
            half = self.width // 2
            self._turns = cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)
        return self._turns

    @torch.inference_mode()
    def _agrees(self) -> bool:
        ids_BL = torch.arange(1, 17, device=self.model.device).view(2, 8) % len(self.embedding)
        mask_BL = torch.ones_like(ids_BL)
        mask_BL[1, :3] = 0
        places_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
        expected = self.model(
            input_ids=ids_BL, attention_mask=mask_BL, position_ids=places_BL, use_cache=False
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
def _beside(*layers: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weights as one matrix `(in, out)`, and biases; the layers' own become views of them."""
    weight = torch.cat([layer.weight for layer in layers]).t()
    if weight.device.type == "cpu":
        # Few rows are multiplied faster there by a matrix that lies in this order.
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
