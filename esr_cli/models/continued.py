"""States of continuations after prompts whose keys and values are computed once, without gradient.

A prompt is kept without its last token: that token's state predicts the first token of a response,
so it is computed with the continuation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from esr_cli.models import batching

# Kinds of RoPE whose angles change with the length of the sequence that is read.
LENGTH_DEPENDENT = ("dynamic", "longrope")
# Keys and values of a prompt take at most about this share of the memory of a token that is read.
KEPT_SHARE = 8
# Largest mean gap of states, in standard deviations, that the order of summation explains.
TOLERANCE, TOLERANCE_16_BIT = 1e-4, 0.1
Ids = tuple[int, ...]
# Keys and values of each layer, both `(tokens, kv heads, width)`.
Kept = list[tuple[torch.Tensor, torch.Tensor]]
# `states_BLX` of token ids and of a transformers model's other inputs.
Forward = Callable[..., torch.Tensor]


class _Layer(DynamicLayer):
    """A cache layer that puts the prompts of a batch before its new keys and values.

    `index_B` is the prompt of each sequence. Prompts are padded on the left. Unlike its base class
    it does not store the result, so that one layer at a time takes the memory of a whole batch.
    """

    def __init__(self, kept: Sequence[tuple[torch.Tensor, torch.Tensor]], index_B: torch.Tensor):
        super().__init__()
        self.kept, self.index_B = kept, index_B
        self.length = max(len(keys) for keys, _ in kept)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the prompts and of the new tokens, `(B, kv heads, tokens, width)`."""
        pairs = zip(zip(*self.kept, strict=True), (key_states, value_states), strict=True)
        keys, values = (
            torch.cat([self._batch(list(parts)), new_BHLW], dim=2) for parts, new_BHLW in pairs
        )
        return keys, values

    def _batch(self, parts: list[torch.Tensor]) -> torch.Tensor:
        padded = pad_sequence(parts, batch_first=True, padding_side="left").transpose(1, 2)
        one = len(parts) == 1
        return padded.expand(len(self.index_B), -1, -1, -1) if one else padded[self.index_B]

    def get_seq_length(self) -> int:
        """The number of tokens before the new ones, padding included."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """The number of keys that a layer of the model sees, and the place of the first."""
        return self.length + query_length, 0


def called(model: Any, splits: bool, **inputs: Any) -> torch.Tensor:
    """The model's states before its head if the head `splits`, else its logits."""
    if splits:
        return model.base_model(**inputs).last_hidden_state
    return model(**inputs).logits


class Continued:
    """Reads prompts, and continuations after them; `forward` is how the model is called."""

    def __init__(self, model: Any, forward: Forward) -> None:
        self.model, self._forward = model, forward

    @torch.no_grad()
    def read(self, prompts: Sequence[Ids]) -> list[Kept]:
        """The keys and values of each prompt without its last token, from one forward pass."""
        ids_BL = batching.pad([ids[:-1] or ids for ids in prompts], self.model.device)
        # Without a configuration it keeps all keys, also in layers with a sliding window, whose
        # last keys would be those of the padding.
        cache: Any = DynamicCache()
        self._call(input_ids=ids_BL, past_key_values=cache, use_cache=True)
        return [
            [(_row(layer.keys, at, ids), _row(layer.values, at, ids)) for layer in cache.layers]
            for at, ids in enumerate(prompts)
        ]

    def after(
        self, prompts: Sequence[Ids], kept: dict[Ids, Kept], continuations: Sequence[Ids]
    ) -> torch.Tensor:
        """`states_BLX` of each prompt's last token and of what follows it, right-padded.

        `kept` has each prompt that has more than one token.
        """
        device = self.model.device
        number = {ids: at for at, ids in enumerate(dict.fromkeys(prompts))}
        index_B = torch.tensor([number[ids] for ids in prompts], device=device)
        lengths_B1 = torch.tensor([len(ids) - 1 for ids in prompts], device=device)[:, None]
        ids_BL = batching.pad([p[-1:] + c for p, c in zip(prompts, continuations, strict=True)],
                              device)  # fmt: skip
        layers: list[Any] = [
            _Layer(layer, index_B) for layer in zip(*(kept[ids] for ids in number), strict=True)
        ]
        longest, new = max(map(len, prompts)) - 1, ids_BL.shape[1]
        at_L = torch.arange(longest + new, device=device)
        return self._call(
            input_ids=ids_BL, past_key_values=Cache(layers), use_cache=True,
            position_ids=lengths_B1 + at_L[:new],
            attention_mask=at_L >= longest - lengths_B1,
        )  # fmt: skip

    def _call(self, **inputs: Any) -> torch.Tensor:
        # Compiled layers would be compiled again for each layer and each number of prompts.
        with torch.compiler.set_stance("force_eager"):
            return self._forward(**inputs)

    @torch.no_grad()
    def agrees(self) -> bool:
        """Whether the states of a few sequences are those of one pass over each of them."""
        if _length_dependent(self.model.config):
            return False
        prompts, more = [(1, 2, 3, 4, 5), (6, 7, 8)], [(9, 10, 11), (12, 13, 14)]
        try:
            kept = dict(zip(prompts, self.read(prompts), strict=True))
            found_BLX = self.after(prompts, kept, more)
        except Exception:  # whatever the code of an architecture refuses
            return False
        limit = TOLERANCE_16_BIT if self.model.dtype.itemsize == 2 else TOLERANCE
        for prompt, rest, found_LX in zip(prompts, more, found_BLX, strict=True):
            ids_1L = batching.pad([prompt + rest], self.model.device)
            expected_LX = self._forward(input_ids=ids_1L, use_cache=False)[0, len(prompt) - 1 :]
            gap = (found_LX - expected_LX).float().abs().mean() / expected_LX.float().std()
            # Not a comparison with >: a gap of NaN is one as well.
            if not float(gap) <= limit:
                return False
        return True


def _row(all_BHLW: torch.Tensor, at: int, prompt: Ids) -> torch.Tensor:
    """One prompt's own memory, without the padding of the pass."""
    kept_LHW = all_BHLW[at, :, : len(prompt) - 1].transpose(0, 1)
    return kept_LHW.clone(memory_format=torch.contiguous_format)


def _length_dependent(config: Any) -> bool:
    ropes = getattr(config.get_text_config(), "rope_parameters", None) or {}
    # Models with several kinds of layers have one mapping for each kind.
    kinds = [each for each in ropes.values() if isinstance(each, dict)] or [ropes]
    return any(each.get("rope_type") in LENGTH_DEPENDENT for each in kinds)


def memory_tokens(prompt: Ids, continuation: Ids) -> int:
    """The tokens whose reading takes as much memory as a continuation after a kept prompt."""
    return 1 + len(continuation) + len(prompt) // KEPT_SHARE


def size_of(kept: Kept) -> int:
    """Bytes of the keys and values of a prompt."""
    return sum(each.nbytes for pair in kept for each in pair)
