"""Padded batches of rollouts, and the response positions in them."""

from __future__ import annotations

from typing import Any

import torch

# Tokens that use a GPU well; a larger group gains nothing. The kernel launches of a pass cost as
# much as some thousands of tokens.
ENOUGH_ON_GPU = 8192
# On a CPU calls are cheap beside the tokens of a model: fewest and most tokens, and the weights for
# which one token is enough. 0.34M weights are quickest with the most, and 135M with the fewest.
ENOUGH_ON_CPU, CPU_WEIGHTS = (256, 2048), 7e8
# A sequence of at least this share of a group's longest causes little padding.
NEARLY = 0.9


def enough_tokens(model: Any) -> int:
    """Tokens of a group that use the model's device well."""
    if model.device.type == "cuda":
        return ENOUGH_ON_GPU
    fewest, most = ENOUGH_ON_CPU
    weights = sum(each.numel() for each in model.parameters())
    return min(most, max(fewest, round(CPU_WEIGHTS / weights)))


def micro_batches(lengths: list[int], budget_tokens: int, enough: int) -> list[list[int]]:
    """Groups indices so that each group, padded to its longest sequence, fits the token budget.

    Groups are sorted by length, longest first; a sequence above the budget forms its own group. A
    group of `enough` tokens, see `enough_tokens`, takes no sequence that would need much padding.
    """
    groups: list[list[int]] = []
    tokens, longest = 0, 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        over_budget = bool(groups) and (len(groups[-1]) + 1) * longest > budget_tokens
        if not groups or over_budget or (tokens >= enough and length < NEARLY * longest):
            groups.append([])
            tokens, longest = 0, length
        groups[-1].append(index)
        tokens += length
    return groups


def pad(sequences: list[tuple[int, ...]], device: str | torch.device) -> torch.Tensor:
    """`input_ids_BL`, right-padded with id 0; causal attention never reads the padding."""
    longest = max(map(len, sequences))
    rows = [list(ids) + [0] * (longest - len(ids)) for ids in sequences]
    return torch.tensor(rows, device=device)


def inputs(prompt_ids: tuple[int, ...], response_ids: tuple[int, ...]) -> tuple[int, ...]:
    """Prompt and response without the last token, whose state predicts nothing needed."""
    return prompt_ids + response_ids[:-1]


def response_rows(
    hidden_BLD: torch.Tensor, prompt_lengths: list[int], response_lengths: list[int]
) -> torch.Tensor:
    """`hidden_RD`: the states that predict the response tokens, sequence by sequence."""
    spans = zip(hidden_BLD, prompt_lengths, response_lengths, strict=True)
    return torch.cat([row[prompt - 1 : prompt - 1 + length] for row, prompt, length in spans])


def offsets(lengths: list[int]) -> list[slice]:
    """The slice of each sequence in the concatenation of all."""
    ends = torch.tensor(lengths).cumsum(0).tolist()
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
