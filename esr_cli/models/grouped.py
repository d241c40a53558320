"""Rows that hold a prompt once and several responses to it: token ids, positions, attention mask.

    slot      0  1  2   3  4   5  6          prompt p, responses a and b without their last tokens
    token     p0 p1 p2  a0 a1  b0 b1
    position  0  1  2   3  4   3  4
    segment   0  0  0   1  1   2  2

A response sees the prompt and itself, so its states and gradients are those of a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from esr_cli.models import batching, head_file, loading
from esr_cli.models.shapes import ATTENTION, sizes

Masks = torch.Tensor | dict[str, torch.Tensor]
# (prompt, responses to it)
Row = tuple[tuple[int, ...], list[tuple[int, ...]]]
# Largest mean gap in hidden states that the order of summation explains, in standard deviations of
# the states; 1e-4 for types not named here.
TOLERANCE = {torch.bfloat16: 0.1}


@dataclass(frozen=True)
class Batch:
    """Rows, padded on the right, of a prompt and the responses to it without their last tokens.

    `segments_BL` is 0 for a prompt, n for its nth response, -1 for padding. `picks_R` numbers the
    states that predict the response tokens, row by row, in the states of all rows end to end.
    """

    input_ids_BL: torch.Tensor
    positions_BL: torch.Tensor
    segments_BL: torch.Tensor
    picks_R: torch.Tensor

    def masks(self, windows: Mapping[str, int | None], dtype: torch.dtype) -> Masks:
        """The mask that is added to attention scores, `(B, 1, L, L)`; by kind, if of several.

        A layer with a window sees the positions of a response's own context that are nearer.
        """
        made = {kind: self._mask(window, dtype) for kind, window in windows.items()}
        return made if len(made) > 1 else next(iter(made.values()))

    def _mask(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        segment_of_query, segment_of_key = self.segments_BL[:, :, None], self.segments_BL[:, None]
        # Differences of positions would take eight times the memory of what is compared.
        seen = self.positions_BL[:, :, None] >= self.positions_BL[:, None]
        seen &= (segment_of_key == 0) | (segment_of_key == segment_of_query)
        if window:
            seen &= (self.positions_BL - window)[:, :, None] < self.positions_BL[:, None]
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def collate(rows: Sequence[Row], device: str | torch.device) -> Batch:
    """The batch of these rows."""
    ids, positions, segments, picks = [], [], [], list[list[int]]()
    for prompt, responses in rows:
        own, at, part = list(prompt), list(range(len(prompt))), [0] * len(prompt)
        own_picks: list[int] = []
        for number, response in enumerate(responses, 1):
            read = response[:-1]
            predicting = [len(prompt) - 1, *range(len(own), len(own) + len(read))]
            own_picks += predicting[: len(response)]
            own += read
            at += range(len(prompt), len(prompt) + len(read))
            part += [number] * len(read)
        ids.append(own)
        positions.append(at)
        segments.append(part)
        picks.append(own_picks)
    longest = max(map(len, ids))

    def padded(values: list[list[int]], filler: int) -> torch.Tensor:
        rows = [each + [filler] * (longest - len(each)) for each in values]
        return torch.tensor(rows, device=device)

    found = [n * longest + slot for n, row in enumerate(picks) for slot in row]
    return Batch(
        padded(ids, 0), padded(positions, 0), padded(segments, -1),
        torch.tensor(found, dtype=torch.long, device=device),
    )  # fmt: skip


def length(prompt: int, responses: Sequence[int]) -> int:
    """The tokens of a row, from the lengths of its prompt and of its responses."""
    return prompt + sum(max(0, each - 1) for each in responses)


def parts(
    prompt: int, responses: Sequence[int], budget_tokens: int, most: int, pairs_per_token: float
) -> list[list[int]]:
    """The rows in which the responses to a prompt cost least: their indices, from their lengths.

    Every row holds the prompt, at most `budget_tokens` unless it has one response, and at most
    `most` responses. Attention costs the square of a row's length, since kernels do not skip what
    the mask of several responses hides; a token costs as much as `pairs_per_token` scores.
    """
    order = sorted(range(len(responses)), key=lambda i: -responses[i])
    best, least = list[list[int]](), 0.0
    for count in range(1, len(order) + 1):
        rows = [sorted(order[first::count]) for first in range(count)]
        lengths = [length(prompt, [responses[i] for i in row]) for row in rows]
        fits = len(rows[0]) <= most and max(lengths) <= budget_tokens
        if count < len(order) and not fits:
            continue
        scores = sum(
            n * n / (1 if len(row) > 1 else 2) for n, row in zip(lengths, rows, strict=True)
        )
        cost = sum(lengths) * pairs_per_token + scores
        if not best or cost < least:
            best, least = rows, cost
    return best


def pairs_per_token(shape: Any) -> float:
    """How many attention scores of a layer take the time of a token in its linear layers.

    By operations about three times as many; attention reaches a smaller share of a device's speed.
    """
    dims = sizes(shape)
    return (dims.width + dims.mlp) / 2


def windows_of(shape: Any) -> dict[str, int | None] | None:
    """The kinds of a model's attention layers with their windows; None if one is of another kind.

    A configuration without `layer_types` means one kind, with its `sliding_window` if it has one.
    """
    window = getattr(shape, "sliding_window", None)
    kinds = sorted(set(getattr(shape, "layer_types", None) or ()))
    if not kinds:
        return {"": window}
    if not set(kinds) <= ATTENTION:
        return None
    return {kind: window if kind == "sliding_attention" else None for kind in kinds}


@torch.no_grad()
def agrees(model: Any, read: Callable[..., torch.Tensor]) -> bool:
    """Whether `read(input_ids, position_ids=, attention_mask=)` gives the states of plain rows.

    It does not for models whose layers carry a state, or that count positions by slots.
    """
    windows = windows_of(model.config.get_text_config())
    if windows is None:
        return False
    row = (1, 2, 3, 4, 5), [(6, 7, 8, 9), (9, 8, 7), (6, 9)]
    plain = [batching.inputs(row[0], response) for response in row[1]]
    counts = list(map(len, row[1]))
    expected = batching.response_rows(
        read(batching.pad(plain, model.device)), [len(row[0])] * 3, counts
    )
    batch = collate([row], model.device)
    try:
        found = states(batch, windows, model.dtype, read)
    except Exception:  # the forward of any model: what it raises for arguments that it cannot take
        return False
    gap = (found.double() - expected.double()).abs().mean() / expected.double().std()
    return float(gap) <= TOLERANCE.get(model.dtype, 1e-4)


def kind_agrees(model: Any) -> bool:
    """Whether a small model of this kind agrees in fp32, where `model` has 16 bits.

    Rounding to 16 bits could hide positions that are wrong by a few. True if no small model can be
    made.
    """
    if model.dtype.itemsize > 2:
        return True
    try:
        small = head_file.small_model(model.config)
    except Exception:  # whatever an architecture refuses
        return True
    return agrees(small, partial(loading.hidden_states, small))


def states(
    batch: Batch, windows: Mapping[str, int | None], dtype: torch.dtype,
    read: Callable[..., torch.Tensor],
) -> torch.Tensor:  # fmt: skip
    """`states_RX`: what `read` returns at the tokens that predict the response tokens."""
    states_BLX = read(
        batch.input_ids_BL, position_ids=batch.positions_BL,
        attention_mask=batch.masks(windows, dtype),
    )  # fmt: skip
    return states_BLX.flatten(0, 1)[batch.picks_R]
