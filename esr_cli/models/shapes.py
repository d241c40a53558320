"""Sizes and memory of a model, computed from its transformers configuration."""

from __future__ import annotations

from typing import Any, NamedTuple

# Settings of architectures whose weights engines store in another form, or whose layers are of
# another kind: mixture of experts, latent attention, state spaces.
OTHER_FORMS = (
    "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "ffn_config",
    "kv_lora_rank", "mamba_d_state", "mamba_expand", "conv_L_cache",
)  # fmt: skip
ATTENTION = {"full_attention", "sliding_attention"}
# Tokens per block of an engine's KV cache.
BLOCK = 16
# Bytes of an engine besides weights and cache: activations, CUDA graphs, workspaces.
ENGINE_ROOM = 2 * 2**30
# vLLM pads a vocabulary to a multiple of this.
VOCABULARY_BLOCK = 64


class Sizes(NamedTuple):
    """`queries` is the width of the queries, `pairs` that of keys and values together."""

    layers: int
    width: int
    mlp: int
    queries: int
    pairs: int


def sizes(shape: Any) -> Sizes:
    """The `Sizes` in a text model's configuration.

    Architectures name them differently; a missing size gets the usual default.
    """
    heads = shape.num_attention_heads
    head = getattr(shape, "head_dim", None) or shape.hidden_size // heads
    pairs = _pairs(shape)
    mlp = getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size
    return Sizes(shape.num_hidden_layers, shape.hidden_size, mlp, heads * head, 2 * pairs * head)


def _pairs(shape: Any) -> int:
    """The number of heads of keys and values."""
    return getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads


def undivided(shape: Any, parts: int) -> str:
    """What of a model vLLM cannot split over `parts` GPUs, in words; empty if it can split all."""
    heads, pairs = shape.num_attention_heads, _pairs(shape)
    if heads % parts:
        return f"its {heads} attention heads"
    if pairs % parts and parts % pairs:
        return f"its {pairs} heads of keys and values"
    if not plain(shape):
        return ""
    if sizes(shape).mlp % parts:
        return f"its MLP of width {sizes(shape).mlp}"
    rows = -(-shape.vocab_size // VOCABULARY_BLOCK) * VOCABULARY_BLOCK
    return f"its vocabulary, of {rows} rows when padded" if rows % parts else ""


def cache_bytes(shape: Any, size: int, parts: int = 1) -> int:
    """Bytes of the keys and values of one token, for a dtype of `size` bytes.

    With `parts`, on one of as many GPUs that share the model. A head is not split.
    """
    dims = sizes(shape)
    return dims.layers * dims.pairs * size // min(parts, _pairs(shape))


def plain(shape: Any) -> bool:
    """Whether an engine stores the weights as saved, so that `weight_bytes` is exact."""
    return (
        not any(getattr(shape, name, 0) for name in OTHER_FORMS)
        and set(getattr(shape, "layer_types", None) or ()) <= ATTENTION
        and isinstance(getattr(shape, "intermediate_size", 0), int)
    )


def weight_bytes(shape: Any, size: int) -> int:
    """Bytes of all matrices of a dense model, for a dtype of `size` bytes; the rest is small."""
    dims = sizes(shape)
    attention = dims.width * (2 * dims.queries + dims.pairs)
    rows = shape.vocab_size * (1 if getattr(shape, "tie_word_embeddings", False) else 2)
    layers = dims.layers * (attention + 3 * dims.width * dims.mlp)
    return (layers + rows * dims.width) * size


def whole_cache(shape: Any, size: int, tokens: int, sequences: int, parts: int = 1) -> int:
    """Bytes of a cache for `sequences` of `tokens` each, and one block reserved by the engine.

    This and what follows is for one of the `parts` GPUs that share an engine.
    """
    blocks = -(-tokens // BLOCK) * sequences + 1
    if len(set(getattr(shape, "layer_types", None) or ())) > 1:
        # Layers of different kinds are padded to groups of one size.
        blocks += -(-blocks // 5)
    return cache_bytes(shape, size, parts) * BLOCK * blocks


def engine_cache(
    shape: Any, size: int, tokens: int, sequences: int, share: float, parts: int = 1
) -> int:
    """Bytes of the cache of an engine that may use `share` bytes in total.

    This is the cache that it can use, limited to what weights and workspaces leave. 0 if not even
    one sequence fits, or if it cannot be estimated (see `plain`).
    """
    if not plain(shape):
        return 0
    left = int(share) - engine_share(shape, size, 0, parts)
    fits = left >= whole_cache(shape, size, tokens, 1, parts)
    return min(left, whole_cache(shape, size, tokens, sequences, parts)) if fits else 0


def engine_share(shape: Any, size: int, cache: int, parts: int = 1) -> int:
    """Total bytes of an engine with a cache of `cache` bytes."""
    return -(-weight_bytes(shape, size) // parts) + cache + ENGINE_ROOM
