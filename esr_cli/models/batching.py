"""Rollouts as padded batches, and response positions back out of them."""

from __future__ import annotations

import torch

# Tokens of a group that is not worth growing. On a GPU the launches of a pass take as long as some
# thousands of tokens; on a CPU they hardly count.
ENOUGH_TOKENS = {"cpu": 2048, "cuda": 8192}
# The share of a group's longest that is long enough for it.
NEARLY = 0.9


def micro_batches(lengths: list[int], budget_tokens: int, device: str = "cpu") -> list[list[int]]:
    """Indices grouped so that a group, padded to its longest, stays within the budget.

    Sorted by length, longest first; a sequence above the budget goes alone. A group that is large
    enough to keep a device busy takes in none that would be padded by much.
    """
    groups: list[list[int]] = []
    enough = ENOUGH_TOKENS["cuda" if device.startswith("cuda") else "cpu"]
    held, longest = 0, 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        over = bool(groups) and (len(groups[-1]) + 1) * longest > budget_tokens
        if not groups or over or (held >= enough and length < NEARLY * longest):
            groups.append([])
            held, longest = 0, length
        groups[-1].append(index)
        held += length
    return groups


def pad(sequences: list[tuple[int, ...]], device: str | torch.device) -> torch.Tensor:
    """`input_ids_BL`, padded on the right with id 0, which no causal position ever sees."""
    longest = max(map(len, sequences))
    rows = [list(ids) + [0] * (longest - len(ids)) for ids in sequences]
    return torch.tensor(rows, device=device)


def inputs(prompt_ids: tuple[int, ...], response_ids: tuple[int, ...]) -> tuple[int, ...]:
    """Prompt and response without the last token, whose own state predicts nothing of use."""
    return prompt_ids + response_ids[:-1]


def response_rows(
    hidden_BLD: torch.Tensor, prompt_lengths: list[int], response_lengths: list[int]
) -> torch.Tensor:
    """`hidden_RD`: for each sequence in turn, the states that predict its response tokens."""
    spans = zip(hidden_BLD, prompt_lengths, response_lengths, strict=True)
    return torch.cat([row[prompt - 1 : prompt - 1 + length] for row, prompt, length in spans])


def offsets(lengths: list[int]) -> list[slice]:
    """Where each sequence's positions lie when all are laid end to end."""
    ends = torch.tensor(lengths).cumsum(0).tolist()
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
