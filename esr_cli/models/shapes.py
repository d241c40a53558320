"""What a transformers configuration says of a model's sizes."""

from __future__ import annotations

from typing import Any, NamedTuple


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
