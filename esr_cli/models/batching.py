"""Padded batches of rollouts, and the response positions in them."""

from __future__ import annotations

import torch

# Tokens that use a device well; a larger group gains nothing. On a GPU the kernel launches of a
# pass cost as much as some thousands of tokens; on a CPU they are cheap.
ENOUGH_TOKENS = {"cpu": 2048, "cuda": 8192}
# A sequence of at least this share of a group's longest causes little padding.
NEARLY = 0.9


def micro_batches(lengths: list[int], budget_tokens: int, device: str = "cpu") -> list[list[int]]:
    """Groups indices so that each group, padded to its longest sequence, fits the token budget.

    Groups are sorted by length, longest first; a sequence above the budget forms its own group. A
    group that is large enough for the device takes no sequence that would need much padding.
    """
    groups: list[list[int]] = []
    enough_tokens = ENOUGH_TOKENS["cuda" if device.startswith("cuda") else "cpu"]
    tokens, longest = 0, 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        over_budget = bool(groups) and (len(groups[-1]) + 1) * longest > budget_tokens
        if not groups or over_budget or (tokens >= enough_tokens and length < NEARLY * longest):
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
