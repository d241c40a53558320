"""What a transformers configuration says of a model's sizes."""

from __future__ import annotations

from typing import Any, NamedTuple

# Settings of architectures whose weights engines do not keep as they are saved, or whose layers
# are of another kind: experts, latent attention, states.
OTHER_FORMS = (
    "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "ffn_config",
    "kv_lora_rank", "mamba_d_state", "mamba_expand", "conv_L_cache",
)  # fmt: skip
ATTENTION = {"full_attention", "sliding_attention"}
# Engines hand their cache out in blocks of so many tokens.
BLOCK = 16
# What an engine takes beside weights and cache: activations, graphs, workspaces.
ENGINE_ROOM = 2 * 2**30


class Sizes(NamedTuple):
    """`queries` and `pairs` are the widths of the queries, and of keys and values together."""

    layers: int
    width: int
    mlp: int
    queries: int
    pairs: int


def sizes(shape: Any) -> Sizes:
    """Of a text model's configuration.

    Architectures name them differently; what one does not name is as in most.
    """
    heads = shape.num_attention_heads
    head = getattr(shape, "head_dim", None) or shape.hidden_size // heads
    pairs = getattr(shape, "num_key_value_heads", None) or heads
    mlp = getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size
    return Sizes(shape.num_hidden_layers, shape.hidden_size, mlp, heads * head, 2 * pairs * head)


def cache_bytes(shape: Any, size: int) -> int:
    """Keys and values of one token, numbers of `size` bytes."""
    found = sizes(shape)
    return found.layers * found.pairs * size


def plain(shape: Any) -> bool:
    """Whether an engine keeps the weights as they are saved, and `weight_bytes` can tell them."""
    return (
        not any(getattr(shape, name, 0) for name in OTHER_FORMS)
        and set(getattr(shape, "layer_types", None) or ()) <= ATTENTION
        and isinstance(getattr(shape, "intermediate_size", 0), int)
    )


def weight_bytes(shape: Any, size: int) -> int:
    """All matrices of a model without experts, numbers of `size` bytes; the rest is small."""
    found = sizes(shape)
    attention = found.width * (2 * found.queries + found.pairs)
    rows = shape.vocab_size * (1 if getattr(shape, "tie_word_embeddings", False) else 2)
    layers = found.layers * (attention + 3 * found.width * found.mlp)
    return (layers + rows * found.width) * size


def whole_cache(shape: Any, size: int, tokens: int, sequences: int) -> int:
    """Bytes of a cache for so many sequences of `tokens` each, of which an engine keeps a block."""
    blocks = -(-tokens // BLOCK) * sequences + 1
    if len(set(getattr(shape, "layer_types", None) or ())) > 1:
        # Layers of unlike kinds are filled up to groups of one size.
        blocks += -(-blocks // 5)
    return cache_bytes(shape, size) * BLOCK * blocks


def engine_cache(shape: Any, size: int, tokens: int, sequences: int, share: float) -> int:
    """The cache of an engine that may take `share` bytes in all: as much as it can use, or what
    weights and workspaces leave. 0 where that is not one sequence, or not to be reckoned."""
    if not plain(shape):
        return 0
    left = int(share) - engine_share(shape, size, 0)
    fits = left >= whole_cache(shape, size, tokens, 1)
    return min(left, whole_cache(shape, size, tokens, sequences)) if fits else 0


def engine_share(shape: Any, size: int, cache: int) -> int:
    """Bytes that an engine with such a cache takes in all."""
    return weight_bytes(shape, size) + cache + ENGINE_ROOM
