"""The preallocated KV cache of the decoding pass, and which of its slots a layer sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from esr_cli.distill.head import ALIGNED
from esr_cli.rollout.layer_weights import FULL, SLIDING, Scales

# By kind of layer: the slots that it reads, and their part of the mask.
Seen = dict[str, tuple[slice, torch.Tensor]]


@dataclass
class Cache:
    """The KV cache of a batch, with its attention mask.

    P is the number of slots. Per layer: `keys` `(B, kv heads, head width, P)` and `values`
    `(B, kv heads, P, head width)`. `mask_BKP` is added to scores: minus infinity at padding, else
    0. `next_B` is each sequence's next position id; `scales` are those of each layer's norms, and
    `last` that of the norm after them. Layers with a sliding window keep all tokens, too.
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    mask_BKP: torch.Tensor
    next_B: torch.Tensor
    scales: list[Scales]
    last: torch.Tensor
    filled: int

    @classmethod
    def empty(
        cls, mask_BL: torch.Tensor, more: int, like: torch.Tensor, kv_heads: int, width: int,
        scales: list[Scales], last: torch.Tensor,
    ) -> Cache:  # fmt: skip
        """A cache for prompts, padded where `mask_BL` is 0, and `more` tokens each.

        Keys and values have the dtype and device of `like`.
        """
        rows, count = mask_BL.shape
        slots = count + more
        slots += -slots % ALIGNED
        mask_BKP = torch.zeros(rows, kv_heads, slots, device=like.device)
        mask_BKP[..., :count].masked_fill_(~mask_BL.bool()[:, None], -torch.inf)
        return cls(
            [like.new_zeros(rows, kv_heads, width, slots) for _ in scales],
            [like.new_zeros(rows, kv_heads, slots, width) for _ in scales],
            mask_BKP, mask_BL.sum(-1), scales, last, count,
        )  # fmt: skip

    def put(
        self, number: int, at: int | torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> None:
        """Writes one token's keys and values `(B, kv heads, head width)` to slot `at`."""
        for kept, dim, new in ((self.keys[number], 3, keys), (self.values[number], 2, values)):
            if isinstance(at, int):
                kept.select(dim, at).copy_(new)
            else:
                kept.index_copy_(dim, at, new.unsqueeze(dim))

    def filled_slots(self, window: int | None) -> Seen:
        """The slots that are filled; of sliding layers, those in the last token's window."""
        spans = {FULL: slice(self.filled)}
        if window:
            spans[SLIDING] = slice(max(0, self.filled - window), self.filled)
        return {kind: (span, self.mask_BKP[..., span]) for kind, span in spans.items()}

    def all_slots(self, at_1: torch.Tensor, window: int | None) -> Seen:
        """All slots, in fixed shapes; those outside the window before `at_1` are masked out."""
        seen = {FULL: (slice(None), self.mask_BKP)}
        if window:
            slots_P = torch.arange(self.mask_BKP.shape[-1], device=at_1.device)
            masked_BKP = self.mask_BKP.masked_fill(slots_P <= at_1 - window, -torch.inf)
            seen[SLIDING] = slice(None), masked_BKP
        return seen

    def keep(self, rows_B: torch.Tensor) -> None:
        """Keeps only these rows, in this order. A row may occur more than once."""
        # One layer at a time: two full caches may not fit in memory.
        for number, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            self.keys[number], self.values[number] = keys[rows_B], values[rows_B]
        self.mask_BKP, self.next_B = self.mask_BKP[rows_B], self.next_B[rows_B]
        # A CUDA graph may have masked slots that are not filled yet.
        self.mask_BKP[..., self.filled :] = 0
